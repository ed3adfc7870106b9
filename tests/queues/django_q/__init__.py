"""Django-Q2's adapter, on Django-Q2's own broker, worker and monitor, which a test calls one after the other."""
