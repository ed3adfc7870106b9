"""The routes of the texts."""

from __future__ import annotations

from django.urls import path

from tests.seeds.documentation import views as documentation
from tests.seeds.image import views as image
from tests.seeds.races import views as races
from tests.seeds.school import views as school

urlpatterns = [
    path("image", image.page),
    path("process_image", image.process),
    path("documentation", documentation.page),
    path("create_job", documentation.generate_job),
    path("create_job/<name>", documentation.generate_any_job),
    path("create_refused_job", documentation.refuse_job),
    path("create_forgotten_job", documentation.forget_job),
    path("create_outrun_job", documentation.outrun_job),
    path("create_job_with_custom_verify", documentation.generate_job_with_custom_verify),
    path("job_custom_verify/<job_id>", documentation.job_custom_verify),
    path("process_video", documentation.process_video),
    path("delayed_jobs/<job_id>", documentation.persist_delayed),
    path("marathon", races.page),
    path("run_marathon", races.run),
    path("marathon/<job_uuid>", races.announce),
    path("classroom/<int:classroom_id>", school.Classroom.as_view(), name="classroom"),
    path("classroom/<int:classroom_id>/a_nice_action", school.a_nice_action),
]
