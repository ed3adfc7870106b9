"""The Django project in which the suite runs a queue; `IMMORTUS_SUITE_DRIVER` names the queue's driver."""
