"""A school."""

from __future__ import annotations

from django.db import models


class Classroom(models.Model):
    """A room with so many seats."""

    name = models.CharField(max_length=40)
    seats = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        """Name the room."""
        return self.name

    @property
    def is_full(self) -> bool:
        """Whether nobody else finds a seat."""
        return self.students.count() >= self.seats


class Student(models.Model):
    """Somebody who sits in a classroom."""

    name = models.CharField(max_length=40)
    classroom = models.ForeignKey(Classroom, models.CASCADE, related_name="students")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        """Name the student."""
        return self.name
