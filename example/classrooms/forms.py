"""Who is to move, and where to."""

from __future__ import annotations

from typing import Any

from django import forms

from classrooms.models import Classroom, Student


class TransferForm(forms.Form):
    """Some students of a classroom, and another classroom for them."""

    students = forms.ModelMultipleChoiceField(Student.objects.none())
    destination = forms.ModelChoiceField(Classroom.objects.none())

    def __init__(self, classroom: Classroom, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fields["students"].queryset = classroom.students.all()
        self.fields["destination"].queryset = Classroom.objects.exclude(pk=classroom.pk)
