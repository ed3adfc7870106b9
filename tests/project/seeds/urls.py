"""The routes of the ancestors' texts."""

from __future__ import annotations

from django.urls import path

from tests.project.seeds import views

urlpatterns = [
    path("process_image", views.process_image),
    path("image", views.image_page),
    path("create_job", views.generate_job),
    path("create_refused_job", views.refuse_job),
    path("create_forgotten_job", views.forget_job),
    path("create_job_with_custom_verify", views.generate_job_with_custom_verify),
    path("job_custom_verify/<job_id>", views.job_custom_verify),
    path("documentation", views.documentation_page),
    path("run_marathon", views.run_marathon),
    path("marathon", views.marathon_page),
]
