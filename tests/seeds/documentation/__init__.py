"""Seeds 001 and 002: the documentation's jobs, strategies and pages."""
