"""What projects import from the package: the modules behind its public names."""
