"""`manage.py immortus_doctor`: follows one job all the way, and says where the way ends.

Each part of the way has a module, which yields what it finds; `examine` calls them in order.
"""
