"""The modules behind the public names that projects import from the package."""
