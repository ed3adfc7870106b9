"""How the table of the database store came to be."""
