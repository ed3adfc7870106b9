"""`ImageController`, and a page for its JavaScript."""

from __future__ import annotations

from django.shortcuts import render

from immortus_channels import job_info, render_immortus
from tests.seeds.image.tasks import process_image


def process(request):
    record = request.GET.get("record")
    if record == "refused":
        return render_immortus(request, None)
    job = process_image.delay(record)
    request.session["job"] = job_info(request, job)
    return render_immortus(request, job)


def page(request):
    return render(request, "image/page.html", {"job": request.session.get("job")})
