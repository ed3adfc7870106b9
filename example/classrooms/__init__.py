"""The classrooms."""
