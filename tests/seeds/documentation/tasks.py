"""The jobs of the documentation."""

from __future__ import annotations

import time

from celery import shared_task

from immortus_channels import current_job, tracked
from immortus_channels.celery import TrackedTask
from tests.seeds.documentation.models import Video


@shared_task
@tracked
def my_job():
    for _ in current_job().track(range(5)):
        time.sleep(0.3)


class CustomTrackingStrategyToMyJob(TrackedTask):
    abstract = True
    tracking_strategy = "my_custom_tracking_strategy"


@shared_task(base=CustomTrackingStrategyToMyJob)
def my_custom_job(pause=0.5):
    time.sleep(pause)


@shared_task
@tracked(strategy="redis_pub_sub_strategy")
def generate_invoice():
    """This will set this strategy for this job only."""


@shared_task
@tracked(strategy="delayed_job_strategy")
def delayed():
    """Is never run: its records are the queue's."""


class JobCustomVerify(TrackedTask):
    abstract = True
    tracking_strategy = "some_custom_strategy"


@shared_task(bind=True, base=JobCustomVerify)
def job_custom_verify(self):
    for progress in range(0, 100, 10):
        self.strategy.update_progress(self.job_id, progress)
        time.sleep(0.25)


class ProcessVideoJob(TrackedTask):
    """A job that chooses its queue when it is sent, and rescues its own errors."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        video = Video.objects.filter(pk=args[0]).first()
        queue = "premium_videojobs" if video and video.premium else "videojobs"
        return super().apply_async(args, kwargs, **{"queue": queue, **options})

    def __call__(self, *args, **kwargs):
        try:
            return self.run(*args, **kwargs)
        except Video.DoesNotExist:
            # Do something with the exception
            current_job().set_meta(rescued="There is no such video.")


@shared_task(bind=True, base=ProcessVideoJob)
def process_video(self, video_id):
    current_job().set_meta(queue=self.request.delivery_info["routing_key"])
    Video.objects.get(pk=video_id)
    # Do process video
