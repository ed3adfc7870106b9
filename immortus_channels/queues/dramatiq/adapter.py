"""Dramatiq as a task queue: `signals` hears what its brokers signal, this module the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dramatiq import Actor, Broker, GenericActor, Message, MessageProxy, group, pipeline
from dramatiq import broker as brokers
from dramatiq.middleware import TimeLimitExceeded

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import Later
from immortus_channels.queues.base import Queue
from immortus_channels.queues.dramatiq.marks import QUEUE, options_of
from immortus_channels.queues.dramatiq.problems import problems
from immortus_channels.queues.dramatiq.signals import Signals
from immortus_channels.queues.hooks import around
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.checks import CheckMessage

    from immortus_channels import keys
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.port import Port
else:
    keys = Later("immortus_channels.keys")


class DramatiqQueue(Queue):
    """Follows the tracked actors of every broker of this process.

    What Dramatiq raises in running code is no `Exception`: it passes all hooks by itself.
    """

    name = QUEUE
    time_limits = (TimeLimitExceeded,)
    carries_headers = True
    tried: ClassVar = {"dramatiq": ("2.0", "2.1", "2.2")}

    def connect(self, port: Port) -> None:
        """Stand around all signals of all brokers; `get_broker()` would make one."""
        self.signals = Signals(port, self._add)
        around(Broker, emit_before=self.signals.before, emit_after=self.signals.after)
        for actor in brokers.global_broker.actors.values() if brokers.global_broker is not None else ():
            self._add(actor)

    def _add(self, actor: Actor[..., Any]) -> None:
        self.tasks[actor.actor_name] = actor

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return how the actor of this name is tracked."""
        return options_of(self.tasks.get(job_class))

    def tracked_names(self) -> set[str]:
        """Return the names of the tracked actors."""
        return {actor.actor_name for actor in self._tracked()}

    def _tracked(self) -> Iterable[Actor[..., Any]]:
        actors = (task for task in self.tasks.copy().values() if isinstance(task, Actor))
        return (actor for actor in actors if options_of(actor) is not None)

    def name_of(self, task: object) -> str | None:
        """Return the name of an actor."""
        return getattr(task, "actor_name", None) if isinstance(task, Actor | GenericActor) else None

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job of a message: a pipeline's is its last one."""
        if isinstance(given, group):
            msg = "A group has no job of its own; render one of its messages."
            raise ConfigurationError(msg)
        message = given.messages[-1] if isinstance(given, pipeline) else given
        if not isinstance(message, Message | MessageProxy):
            return None
        # An actor that is not declared here may be tracked where it runs.
        if message.actor_name in self.tasks and self.options_of(message.actor_name) is None:
            msg = f"The actor {message.actor_name!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        return message.message_id, message.actor_name

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Have dramatiq-abort end a run, where it is in use; a job that waits is refused when its turn comes."""
        actor = self.tasks.get(job.job_class)
        for each in actor.broker.middleware if terminate and isinstance(actor, Actor) else ():
            if type(each).__module__.startswith("dramatiq_abort."):
                getattr(each, "abort")(keys.name_in(job.job_id))  # noqa: B009 - a package that need not be installed

    def problems(self) -> list[CheckMessage]:
        """Return what keeps tracked actors from running."""
        return list(problems(list(self._tracked())))
