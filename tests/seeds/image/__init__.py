"""Seed 000: a job that processes an image."""
