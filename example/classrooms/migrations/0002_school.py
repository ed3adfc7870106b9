"""The school on its first day."""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

ROOMS = {"music room": 30, "library": 30, "broom cupboard": 3, "bell tower": 0}
STUDENTS = ("Ada", "Blaise", "Carl", "Dorothy", "Emmy", "Florence", "Grace", "Hedy", "Isaac", "Joan")


def open_school(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    classroom, student = (apps.get_model("classrooms", name) for name in ("Classroom", "Student"))
    rooms = [classroom.objects.create(name=name, seats=seats) for name, seats in ROOMS.items()]
    student.objects.bulk_create(student(name=name, classroom=rooms[0]) for name in STUDENTS)


class Migration(migrations.Migration):
    dependencies = [("classrooms", "0001_initial")]

    operations = [migrations.RunPython(open_school, migrations.RunPython.noop)]
