"""The marathons."""
