"""Seed 003: a marathon and its JobState."""
