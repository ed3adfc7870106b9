"""The page, what starts jobs, and the pictures that come of them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from immortus_channels import get_job, job_info, render_immortus
from immortus_channels.exceptions import JobNotFound
from photos.forms import PhotoForm
from photos.models import Photo
from photos.paintings import Painting
from photos.samples import SAMPLES
from photos.scenes import left_out_of, scenes_of
from photos.tasks import TASKS

SHOWN = 12
"""As many of a visitor's latest jobs are on the page."""
QUEUE = settings.DEMO_QUEUE
SCENES = scenes_of(QUEUE)
PICTURES = ("preview.jpg", "thumbnail.jpg", "painting.jpg")


@require_safe
@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """The page, with the true state of every job it lists."""
    photos = Photo.objects.filter(visitor=visitor(request)).exclude(job_id="")[:SHOWN]
    cards = [card for photo in photos if (card := _card(request, photo))]
    context = {
        "cards": cards,
        "samples": SAMPLES.values(),
        "scenes": SCENES.values(),
        "left_out": left_out_of(QUEUE),
        "pace": settings.DEMO_PACE,
        "layer": "Redis" if settings.REDIS_URL else "none",
    }
    return render(request, "photos/index.html", context)


@require_POST
def process_image(request: HttpRequest) -> HttpResponse:
    """Paint the uploaded photograph, or a sample."""
    return _start(request, "paint", TASKS.process_image)


@require_POST
def start_scene(request: HttpRequest, scene: str) -> HttpResponse:
    """Start the job of one of the buttons."""
    if scene not in SCENES:
        raise Http404(scene)
    return _start(request, scene, getattr(TASKS, SCENES[scene].task))


@require_POST
def clear(request: HttpRequest) -> HttpResponse:
    """Forget the visitor's jobs; what runs goes on."""
    Photo.objects.filter(visitor=visitor(request)).delete()
    return redirect("index")


@require_safe
def media(_request: HttpRequest, photo: uuid.UUID, name: str) -> HttpResponse:
    """A picture of a painting, to whoever knows the unguessable id of its photograph."""
    file = Painting(str(photo)).folder / name
    if name not in PICTURES or not file.is_file():
        raise Http404(name)
    return HttpResponse(
        file.read_bytes(),
        content_type="image/jpeg",
        headers={"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"},
    )


def visitor(request: HttpRequest) -> str:
    """Who is looking: the logged-in user, else this browser's session."""
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return request.session.setdefault("visitor", uuid.uuid4().hex)


def _start(request: HttpRequest, scene: str, task: object) -> HttpResponse:
    form = PhotoForm(request.POST, request.FILES)
    if not form.is_valid():
        error = form.errors.as_data().popitem()[1][0]
        body = {"error": {"code": error.code, "message": error.messages[0]}}
        return JsonResponse(body, status=413 if error.code == "too_large" else 400)
    image = form.cleaned_data["image"]
    sample = SAMPLES[form.cleaned_data["sample"] or next(iter(SAMPLES))]
    title = SCENES[scene].title if scene in SCENES else image.name[:200] if image else sample.title
    photo = Photo.objects.create(visitor=visitor(request), scene=scene, title=title)
    Painting(str(photo.pk)).save_original(image.chunks() if image else [sample.file.read_bytes()])
    job = QUEUE.send(task, str(photo.pk))  # with Celery: task.delay(…)
    photo.job_id = job_info(request, job, queue=QUEUE.name)["job_id"]
    photo.save(update_fields=["job_id"])
    return render_immortus(request, job, queue=QUEUE.name)


def _card(request: HttpRequest, photo: Photo) -> dict[str, object] | None:
    try:
        job = get_job(photo.job_id, user=request.user)
    except JobNotFound:
        return None
    return {"title": photo.title, "info": job_info(request, job), "job": job.document}
