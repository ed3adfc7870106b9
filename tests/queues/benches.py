"""Queues without a server: how each declares a task above a function, and how its own worker code runs one."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable
from typing import Any

import django
import pytest
from django.utils.module_loading import import_string

from immortus_channels import tracked
from immortus_channels.queues.tracked import options_on


class Bench:
    """One queue without a server: how a task is declared, and how its own worker runs it."""

    packages: tuple[str, ...] = ()
    """The packages of its types, as `ADAPTERS` may name them."""
    distribution = ""
    function = "double"

    @classmethod
    def need(cls) -> None:
        """Skip the test where the queue is not installed."""
        try:
            importlib.metadata.version(cls.distribution)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"needs {cls.distribution}: pip install {cls.distribution}")

    def declare(self, function: Callable[..., Any], name: str = "double") -> Any:
        raise NotImplementedError

    def run(self, task: Any, begin: Callable[[], None]) -> None:
        """Send the task with 4 and have a worker run it, which calls `begin` before."""
        raise NotImplementedError


class Huey(Bench):
    packages, distribution = ("huey",), "huey"

    def __init__(self) -> None:
        from huey import MemoryHuey

        self.huey = MemoryHuey(immediate=False)

    def declare(self, function, name="double"):
        return self.huey.task(name=name)(function)

    def run(self, task, begin):
        self.huey.pre_execute()(lambda _: begin())
        task(4)
        self.huey.execute(self.huey.dequeue())


class HueyPeriodic(Huey):
    def declare(self, function, name="double"):
        from huey import crontab

        return self.huey.periodic_task(crontab(), name=name)(function)


class Dramatiq(Bench):
    packages, distribution = ("dramatiq",), "dramatiq"

    def __init__(self) -> None:
        import dramatiq
        from dramatiq.brokers.stub import StubBroker

        self.dramatiq = dramatiq
        self.broker = StubBroker()

    def declare(self, function, name="double"):
        return self.dramatiq.actor(actor_name=name, broker=self.broker)(function)

    def run(self, task, begin):
        class Beginning(self.dramatiq.Middleware):
            def before_process_message(self, broker, message):
                begin()

        self.broker.add_middleware(Beginning())
        task.send(4)
        worker = self.dramatiq.Worker(self.broker, worker_threads=1, worker_timeout=100)
        worker.start()
        try:
            self.broker.join(task.queue_name, timeout=5000)
            worker.join()
        finally:
            worker.stop()


class DramatiqAsync(Dramatiq):
    function = "adouble"

    def __init__(self) -> None:
        super().__init__()
        from dramatiq.middleware.asyncio import AsyncIO

        self.broker.add_middleware(AsyncIO())


class DramatiqClass(Dramatiq):
    """An actor that is an instance of its own class."""

    def declare(self, function, name="double"):
        def perform(self, number):
            return function(number)

        options = options_on(function)
        perform = tracked(perform, params="number", cancel=False) if options else perform
        meta = type("Meta", (), {"broker": self.broker, "actor_name": name})
        generic = self.dramatiq.GenericActor
        return type(generic)("Double", (generic,), {"perform": perform, "Meta": meta})


class DjangoTasks(Bench):
    packages, distribution = ("django.tasks",), "django"

    @classmethod
    def need(cls) -> None:
        super().need()
        if cls.distribution == "django" and django.VERSION < (6,):
            pytest.skip('needs django.tasks: pip install "Django>=6"')

    def declare(self, function, name="double"):
        from django.tasks import task

        return task(function)

    def run(self, task, begin):
        from django.tasks.signals import task_started

        def started(**_: object) -> None:
            begin()

        task_started.connect(started)
        try:
            result = import_string(task.module_path).enqueue(4)
        finally:
            task_started.disconnect(started)
        assert result.status == "SUCCESSFUL"


class DjangoTasksAsync(DjangoTasks):
    function = "adouble"


class Backport(DjangoTasks):
    packages, distribution = ("django_tasks",), "django-tasks"

    def declare(self, function, name="double"):
        from django_tasks import task

        return task(function)

    def run(self, task, begin):
        from django_tasks.signals import task_started

        def started(**_: object) -> None:
            begin()

        task_started.connect(started)
        try:
            task.enqueue(4)
        finally:
            task_started.disconnect(started)


class Procrastinate(Bench):
    packages, distribution = ("procrastinate",), "procrastinate"

    def __init__(self) -> None:
        from procrastinate import App
        from procrastinate.testing import InMemoryConnector

        self.app = App(connector=InMemoryConnector())

    def declare(self, function, name="double"):
        return self.app.task(name=name)(function)

    def run(self, task, begin):
        async def beginning(call_next, context, worker):
            begin()
            return await call_next()

        async def work():
            async with self.app.open_async():
                await task.defer_async(number=4)
                await self.app.run_worker_async(
                    wait=False, worker_middleware=[beginning], install_signal_handlers=False, listen_notify=False
                )

        asyncio.run(work())


class ProcrastinateAsync(Procrastinate):
    function = "adouble"


class Taskiq(Bench):
    packages, distribution = ("taskiq",), "taskiq"

    def __init__(self) -> None:
        from taskiq import InMemoryBroker

        self.broker = InMemoryBroker(await_inplace=True)

    def declare(self, function, name="double"):
        return self.broker.task(task_name=name)(function)

    def run(self, task, begin):
        from taskiq import TaskiqMiddleware

        class Beginning(TaskiqMiddleware):
            def pre_execute(self, message):
                begin()
                return message

        async def work():
            self.broker.add_middlewares(Beginning())
            await self.broker.startup()
            sent = await task.kiq(4)
            result = await sent.wait_result(timeout=5)
            await self.broker.shutdown()
            assert not result.is_err

        asyncio.run(work())


class TaskiqAsync(Taskiq):
    function = "adouble"


class Rq(Bench):
    """RQ finds a function by its name; the decorator gives it a `delay`."""

    packages, distribution = ("rq",), "rq"

    def declare(self, function, name="double"):
        from redis import Redis
        from rq.decorators import job

        return job("default", connection=Redis(port=1))(function)

    def run(self, task, begin):
        from redis import Redis
        from rq.job import Job

        begin()
        job = Job.create(task, args=(4,), connection=Redis(port=1))
        import_string(job.func_name)(*job.args)


class Arq(Bench):
    packages, distribution = ("arq",), "arq"
    function = "in_context"

    def declare(self, function, name="in_context"):
        from arq.worker import func

        return func(function, name=name)

    def run(self, task, begin):
        from arq.worker import Worker

        async def work():
            worker = Worker(functions=[task], handle_signals=False)
            begin()
            await worker.functions[task.name].coroutine({}, 4)

        asyncio.run(work())


class ArqCron(Arq):
    def declare(self, function, name="in_context"):
        from arq import cron

        return cron(function, name=name, minute=0)

    def run(self, task, begin):
        async def work():
            begin()
            await task.coroutine({})

        asyncio.run(work())


class Saq(Bench):
    """SAQ's tasks are the coroutine functions themselves."""

    packages, distribution = ("saq",), "saq"
    function = "in_context"

    def declare(self, function, name="in_context"):
        return function

    def functions(self, task):
        return {"functions": [task]}

    def run(self, task, begin):
        from saq import Queue, Worker

        async def work():
            worker = Worker(Queue.from_url("redis://localhost:1"), **self.functions(task))
            begin()
            [function] = worker.functions.values()
            await function({}, number=4)

        asyncio.run(work())


class SaqCron(Saq):
    def declare(self, function, name="in_context"):
        from saq import CronJob

        return CronJob(function, cron="* * * * *")

    def functions(self, task):
        return {"functions": [], "cron_jobs": [task]}


BENCHES: tuple[type[Bench], ...] = (
    *(Huey, HueyPeriodic, Dramatiq, DramatiqAsync, DramatiqClass, DjangoTasks, DjangoTasksAsync, Backport),
    *(Procrastinate, ProcrastinateAsync, Taskiq, TaskiqAsync, Rq, Arq, ArqCron, Saq, SaqCron),
)
