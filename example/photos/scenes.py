"""What can happen to a job: each a button on the page and a task that makes it happen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from queues.base import Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One button: its words, how the job is expected to end, and the name of the task behind it."""

    slug: str
    title: str
    text: str
    ending: str
    task: str


SCENES = (
    Scene(
        slug="fails",
        title="It fails",
        text="The task gives up and says why, in words meant for you.",
        ending="failed",
        task="fails",
    ),
    Scene(
        slug="crashes",
        title="It crashes",
        text="An unexpected error. You read one general sentence; the log has the rest.",
        ending="failed",
        task="crashes",
    ),
    Scene(
        slug="retries",
        title="It retries",
        text="Fails twice, waits, begins again and succeeds: one job, three attempts.",
        ending="finished",
        task="retries",
    ),
    Scene(
        slug="slow",
        title="You cancel it",
        text="A job of one minute. Press Cancel on its card and it stops.",
        ending="cancelled",
        task="slow",
    ),
    Scene(
        slug="time-limit",
        title="It takes too long",
        text="Celery's hard time limit ends it after four seconds.",
        ending="failed",
        task="time_limit",
    ),
    Scene(
        slug="child-killed",
        title="Its process dies",
        text="The process that runs it is killed, as when memory runs out. Celery tells after ten seconds.",
        ending="failed",
        task="child_killed",
    ),
    Scene(
        slug="worker-killed",
        title="The whole worker dies",
        text="Nobody is left to report. Stalled after 15 seconds, lost after a minute.",
        ending="lost",
        task="worker_killed",
    ),
    Scene(
        slug="table",
        title="Its own table",
        text="Tracked by a strategy of this project, in a table of this project.",
        ending="finished",
        task="process_image_with_table",
    ),
)


def scenes_of(queue: Queue) -> dict[str, Scene]:
    """Return what this queue's jobs can do, by slug, in the queue's own words."""
    possible = (scene for scene in SCENES if scene.slug not in queue.cannot)
    return {scene.slug: replace(scene, **queue.scenes.get(scene.slug, {})) for scene in possible}


def left_out_of(queue: Queue) -> dict[str, str]:
    """Return why the other scenes are not on this queue's page, by their titles."""
    return {scene.title: queue.cannot[scene.slug] for scene in SCENES if scene.slug in queue.cannot}
