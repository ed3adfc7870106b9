"""The five texts of the ancestors, translated line by line, and run.

One Django app for each application that the texts speak of: `image` (000), `documentation` (001 and 002), `races` (003)
and `school` (004). They live in the site of `tests.project`.
"""
