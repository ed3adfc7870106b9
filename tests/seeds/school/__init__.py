"""Seed 004: a classroom, its worker and the page that waits for it."""
