"""The pages, what starts jobs, and the demo's own login."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from immortus_channels.urls import immortus_jobs
from photos import views

urlpatterns = [
    path("", views.index, name="index"),
    path("media/<uuid:photo>/<str:name>", views.media, name="media"),
    path("clear", views.clear, name="clear"),
    path("login/", auth.LoginView.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    *immortus_jobs(
        path("process_image", views.process_image, name="process_image"),
        path("scenes/<slug:scene>", views.start_scene, name="scene"),
    ),
]

if settings.DEMO_QUEUE.has_all_pages:
    urlpatterns += [
        path("marathons/", include("races.urls")),
        path("classrooms/", include("classrooms.urls")),
    ]
