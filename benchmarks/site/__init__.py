"""The Django project that is measured: one site that serves every system, so that all stand behind the same server."""
