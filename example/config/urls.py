"""The pages, what starts jobs, and the demo's own login."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from classrooms import views as classrooms
from immortus_channels.urls import immortus_jobs
from photos import views
from races import views as races

urlpatterns = [
    path("", views.index, name="index"),
    path("media/<uuid:photo>/<str:name>", views.media, name="media"),
    path("clear", views.clear, name="clear"),
    path("marathons/", races.marathons, name="marathons"),
    path("marathons/start", races.start, name="start"),
    path("classrooms/", classrooms.classrooms, name="classrooms"),
    path("classrooms/<int:classroom_id>/", classrooms.classroom, name="classroom"),
    path("classrooms/<int:classroom_id>/transfer", classrooms.transfer, name="transfer"),
    path("login/", auth.LoginView.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    *immortus_jobs(
        path("process_image", views.process_image, name="process_image"),
        path("scenes/<slug:scene>", views.start_scene, name="scene"),
    ),
]
