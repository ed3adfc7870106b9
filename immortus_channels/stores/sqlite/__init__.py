"""The database store on SQLite: jobs in a file beside the database, so that writing them disturbs no transaction.

In one file, a write that comes between what a transaction reads and what it writes fails that transaction at once
(`database is locked`), whatever the journal mode and however patient the writer.
"""
