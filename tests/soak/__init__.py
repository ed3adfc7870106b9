"""Ten minutes of everything at once, beside another package, and a minute of somebody who means harm.

Also a Django app: its tasks are what the workers of the soak do. `make soak` runs it; reports go into build/soak/.
"""
