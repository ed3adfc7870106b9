"""The photo story."""
