"""`manage.py check`: every mistake is found, and nothing is said where there is none."""

from __future__ import annotations

import ast
import asyncio
import gc
import re
import socket
import sys
import time
from datetime import timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from celery import Celery, Task, _state, signals
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.core.asgi import get_asgi_application
from django.core.checks import ERROR, run_checks
from django.http import HttpResponse
from django.urls import path, re_path

from immortus_channels import JobHandler, TrackingStrategy, checks, queues, tracked, tracking
from immortus_channels.checks import releases, sockets
from immortus_channels.jobs.owner import current_owner
from immortus_channels.middleware import JobOwnerMiddleware
from immortus_channels.queues.celery import CeleryQueue
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.routing import websocket_application, websocket_urlpatterns
from immortus_channels.urls import immortus_jobs
from immortus_channels.websocket.consumer import JobConsumer
from tests.servers import need_package
from tests.site import Site, eventually, running_site
from tests.toys import ToyQueue

OWNER = "immortus_channels.middleware.JobOwnerMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"

known_version = cache(version)
"""Looked up once: that takes longer than all checks."""


def who(request):
    return HttpResponse(current_owner() or "nobody")


urlpatterns = [*immortus_jobs(), path("who", who)]


class ChoiceOf:
    def __init__(self, namespace):
        self.namespace = namespace

    def get(self, source):
        return self.namespace


class NoUrls:
    urlpatterns: tuple[Any, ...] = ()


@pytest.fixture(autouse=True)
def celery_app(monkeypatch):
    """The Celery app of a healthy project."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", app)
    monkeypatch.setattr(_state._tls, "current_app", app)
    return app


@pytest.fixture(autouse=True)
def project(settings, monkeypatch, celery_alone):
    """The settings of a healthy project."""
    monkeypatch.setattr(releases, "version", known_version)
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, OWNER]
    settings.ASGI_APPLICATION = f"{__name__}.whole"
    settings.ALLOWED_HOSTS = ["testserver"]
    return settings


def messages() -> dict[str, Any]:
    """What is found, by the number of the check."""
    found = checks.check_all()
    assert all(message.hint.endswith(".") or "`" in message.hint for message in found), "every mistake has its cure"
    return {message.id.removeprefix("immortus_channels."): message for message in found}


def found() -> set[str]:
    return set(messages())


def test_a_healthy_project_hears_nothing():
    assert messages() == {}


def test_a_project_without_asgi_or_layer_is_healthy(settings):
    del settings.ASGI_APPLICATION
    assert messages() == {}


def test_a_mistake_reaches_manage_py_check(settings):
    settings.IMMORTUS_ACCESS = "everybody"
    assert "immortus_channels.E006" in {message.id for message in run_checks(tags=["immortus"])}


def test_nothing_is_connected_to_and_nobody_waits(settings, monkeypatch):
    """The database is forbidden too: this test does not ask for one."""
    url = "redis://127.0.0.1:1/0"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": {"hosts": [url]}}}
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": url}}
    checks.check_all()

    def refuse(*address):
        pytest.fail(f"a check connected to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    began = time.monotonic()
    checks.check_all()
    assert time.monotonic() - began < 0.2


# Marks


def marked_in_a_module(monkeypatch, decorate):
    """A module of a project, with one marked function that `decorate` makes a task of."""
    module = ModuleType("gallery_of_a_project")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set())
    exec("def paint(): pass", vars(module))
    module.paint = decorate(tracked(module.paint))


def test_a_mark_under_the_decorator_of_a_queue_without_an_adapter_is_found(monkeypatch):
    job = type("Job", (), {"__module__": "apscheduler.job"})()
    marked_in_a_module(monkeypatch, lambda function: job)
    message = messages()["W012"]
    assert "'gallery_of_a_project.paint'" in message.msg
    assert "APScheduler, which has no adapter" in message.msg
    assert "JobRepository()" in message.hint


@pytest.mark.parametrize("connected", [True, False])
def test_a_mark_on_a_function_that_is_no_task_is_found(monkeypatch, connected):
    celery = queues.by_name("celery")
    monkeypatch.setattr(queues, "connected", [celery] if connected else [])
    marked_in_a_module(monkeypatch, lambda function: function)
    assert "is not a task of any task queue in use" in messages()["W012"].msg


def test_a_mark_on_a_function_is_right_where_a_queue_runs_functions(monkeypatch):
    queue = ToyQueue()
    queue.runs_functions = True
    monkeypatch.setattr(queues, "connected", [queue])
    marked_in_a_module(monkeypatch, lambda function: function)
    assert "W012" not in messages()


def test_a_mark_on_a_task_is_fine_however_the_task_was_made(monkeypatch, celery_app):
    marked_in_a_module(monkeypatch, celery_app.task)
    assert messages() == {}
    marked_in_a_module(monkeypatch, lambda function: celery_app.task(function, name="its.own", bind=True) and function)
    assert messages() == {}


def test_a_mark_on_a_task_of_another_app_is_fine(monkeypatch):
    marked_in_a_module(monkeypatch, Celery("another", set_as_current=False).task(shared=False))
    assert messages() == {}


# Addresses


def test_addresses_that_are_not_included_are_only_a_warning(settings):
    settings.ROOT_URLCONF = NoUrls
    assert found() == {"W016"}
    assert messages()["W016"].level < ERROR


def test_a_list_of_addresses_without_its_star_is_said_with_the_star(settings):
    settings.ROOT_URLCONF = type("NoStar", (), {"urlpatterns": [immortus_jobs()]})
    assert found() == {"W016"}
    assert "[*immortus_jobs(), …]" in messages()["W016"].hint


def test_a_worker_without_any_addresses_is_left_alone(settings):
    settings.ROOT_URLCONF = None
    assert messages() == {}


# Strategies


class Silent(TrackingStrategy):
    """A strategy that can be used."""


class Broken(TrackingStrategy):
    """A strategy that cannot."""

    def __init__(self) -> None:
        msg = "no table"
        raise RuntimeError(msg)


@pytest.mark.parametrize("named", ["no_such_strategy", "nowhere.Strategy", f"{__name__}.Broken"])
def test_a_strategy_in_the_settings_that_cannot_be_used_is_an_error(settings, named):
    settings.IMMORTUS_TRACKING_STRATEGY = named
    assert found() == {"E002"}
    assert named in messages()["E002"].msg


@pytest.mark.case(12)
def test_the_error_of_a_strategy_lists_what_was_tried(settings):
    settings.IMMORTUS_TRACKING_STRATEGY = "no_such_strategy"
    assert "immortus_channels.tracking_strategies.NoSuchStrategy" in messages()["E002"].msg


def test_a_strategy_in_the_settings_that_can_be_used_is_fine(settings):
    settings.IMMORTUS_TRACKING_STRATEGY = f"{__name__}.Silent"
    assert messages() == {}


@pytest.mark.case(12)
def test_a_task_s_unusable_strategy_is_an_error_that_names_the_task(celery_app):
    @celery_app.task(name="shop.paint", shared=False)
    @tracked(strategy="no_such_strategy")
    def paint():
        """Never run."""

    assert found() == {"E003"}
    assert "'shop.paint'" in messages()["E003"].msg


class Nice(JobHandler):
    """A handler that can be used."""


@pytest.mark.parametrize("named", ["no_such_handler", "nowhere.Handler", Silent])
def test_a_task_s_unusable_handler_is_an_error_that_names_the_task(celery_app, named):
    @celery_app.task(name="shop.paint", shared=False)
    @tracked(handler=named)
    def paint():
        """Never run."""

    assert found() == {"E012"}
    assert "'shop.paint'" in messages()["E012"].msg


@pytest.mark.parametrize("named", [None, Nice, f"{__name__}.Nice"])
def test_a_task_s_handler_that_can_be_used_is_fine(celery_app, named):
    @celery_app.task(name="shop.paint", shared=False)
    @tracked(handler=named)
    def paint():
        """Never run."""

    assert messages() == {}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("next_ulr", "next_url"), ("on_redy", "on_ready"), ("onFailed", "on_failed"), ("Header", "header")],
)
def test_a_mistyped_name_in_a_handler_is_found(name, meant):
    handler = type("Mistyped", (JobHandler,), {name: "/"})
    try:
        assert found() == {"W022"}
        assert f"{name!r}, which no page reads. Is {meant!r} meant?" in messages()["W022"].msg
    finally:
        del handler
        gc.collect()  # a class is in a circle


def test_names_of_a_handlers_own_are_fine():
    own = {"next_url": "/", "next_urls": (), "_header": "", "pupil": "", "read_message_of": lambda self: ""}
    handler = type("Own", (JobHandler,), own)
    assert issubclass(handler, JobHandler)
    assert messages() == {}


@pytest.mark.parametrize("named", [None, Silent, f"{__name__}.Silent"])
def test_a_task_s_own_strategy_that_can_be_used_is_fine(celery_app, named):
    @celery_app.task(name="shop.paint", shared=False)
    @tracked(strategy=named)
    def paint():
        """Never run."""

    assert messages() == {}


# Store


@pytest.mark.case(13)
@pytest.mark.parametrize(
    "store",
    [
        {"BACKEND": "postgres"},
        {"BACKEND": "nowhere.Store"},
        {"BACKEND": "database", "OPTIONS": {"alias": "default"}},
        {"BACKEND": "redis", "OPTIONS": {"url": "no url"}},
        {"BACKEND": "redis", "OPTIONS": {"URL": "redis://localhost"}},
        {"BACKEND": "redis", "OPTION": {"url": "redis://localhost"}},
        {"BACKEND": "redis", "OPTIONS": {"sentinels": [("localhost", 26379)]}},
        {"BACKEND": "redis", "OPTIONS": {"master_name": "jobs"}},
        {"BACKEND": "redis", "OPTIONS": {"sentinels": ["localhost:26379"], "master_name": "jobs"}},
        {"BACKEND": "redis", "OPTIONS": {"sentinels": "localhost", "master_name": "jobs"}},
        {"BACKEND": "redis", "OPTIONS": {"cluster_nodes": [("localhost", "7000")]}},
        {"BACKEND": "redis", "OPTIONS": {"cluster_nodes": [("localhost", 7000)], "url": "redis://localhost"}},
        {"BACKEND": "redis", "OPTIONS": {"cluster_nodes": [("localhost", 7000)], "nonsense": 1}},
        {"backend": "redis"},
        "database",
    ],
)
def test_a_store_that_cannot_be_used_is_an_error(settings, store):
    settings.IMMORTUS_STORE = store
    assert found() == {"E004"}
    assert str(store) in messages()["E004"].msg


def test_a_store_in_an_unknown_database_is_an_error_that_lists_known_ones(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "database", "OPTIONS": {"using": "jobs"}}
    assert found() == {"E004"}
    assert "'jobs'" in messages()["E004"].msg
    assert "'default'" in messages()["E004"].msg


@pytest.mark.parametrize("backend", ["redis", "immortus_channels.stores.redis.RedisStore"])
@pytest.mark.parametrize("options", [{}, {"OPTIONS": {}}, {"OPTIONS": {"prefix": "shop"}}])
def test_a_redis_store_without_an_address_is_an_error(settings, backend, options):
    settings.IMMORTUS_STORE = {"BACKEND": backend, **options}
    assert found() == {"E004"}
    assert "does not say where its Redis is" in messages()["E004"].msg


@pytest.mark.parametrize("value", ["yes", "1", "false"])
def test_a_store_whose_url_asks_for_text_in_place_of_bytes_is_an_error(settings, value):
    options = {"url": f"redis://localhost/0?decode_responses={value}"}
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": options}
    assert "decode_responses is on" in messages()["E004"].msg


@pytest.mark.parametrize(
    ("host", "is_found"),
    [
        ("redis://localhost/0?decode_responses=yes", True),
        ("redis://localhost/0?decode_responses=false", True),
        ({"address": "redis://localhost/0?decode_responses=1"}, True),
        ({"address": "redis://localhost/0", "decode_responses": True}, True),
        ({"address": "redis://localhost/0", "decode_responses": False}, False),
        (("localhost", 6379), False),
    ],
)
def test_a_layer_that_would_get_text_for_bytes_is_an_error(settings, host, is_found):
    settings.CHANNEL_LAYERS = layer("channels_redis.pubsub.RedisPubSubChannelLayer", hosts=[host])
    assert found() == ({"E007"} if is_found else set())


def test_a_password_of_the_store_is_not_shown(settings):
    options = {"url": "redis://u:secret@localhost/0", "password": "secret", "nonsense": 1, "retry": 1}
    settings.IMMORTUS_STORE = {"BACKEND": "nowhere.Store", "OPTIONS": options}
    assert "secret" not in str(messages()["E004"])


BY_SENTINEL = {
    "CHANNEL_LAYERS": {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"sentinels": [("localhost", 26379)], "master_name": "jobs"}]},
        }
    },
    "CELERY_BROKER_URL": "sentinel://localhost:26379",
    "CELERY_RESULT_BACKEND": "sentinel://localhost:26379",
}


@pytest.mark.parametrize("name", BY_SENTINEL)
def test_a_store_at_a_fixed_address_is_told_where_others_follow_a_failover(settings, name):
    setattr(settings, name, BY_SENTINEL[name])
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": "redis://localhost:6379/0"}}
    assert found() == {"W019"}
    assert name in messages()["W019"].msg
    settings.IMMORTUS_STORE = {"BACKEND": "redis"}
    assert found() == {"W019", "E004"}


@pytest.mark.parametrize(
    "store",
    [
        {"BACKEND": "database"},
        {"BACKEND": "redis", "OPTIONS": {"sentinels": [["localhost", 26379]], "master_name": "jobs"}},
        {"BACKEND": "redis", "OPTIONS": {"cluster_nodes": [("localhost", 7000)]}},
    ],
)
def test_a_store_that_follows_one_itself_or_is_no_redis_needs_no_word(settings, store):
    settings.CHANNEL_LAYERS = BY_SENTINEL["CHANNEL_LAYERS"]
    settings.IMMORTUS_STORE = store
    assert messages() == {}


def test_a_store_at_a_fixed_address_is_fine_where_nobody_fails_over(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": "redis://localhost"}}
    assert messages() == {}


def test_the_memory_store_with_workers_elsewhere_is_an_error(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    assert found() == {"E005"}


def test_the_memory_store_is_fine_where_jobs_run_at_once(settings, celery_app):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    celery_app.conf.task_always_eager = True
    assert messages() == {}


@pytest.mark.parametrize(("tasks", "expected"), [({}, set()), ({"resize": TaskOptions()}, {"E005"})])
def test_a_queue_that_was_only_imported_does_not_count(settings, celery_app, monkeypatch, tasks, expected):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    celery_app.conf.task_always_eager = True

    @celery_app.task(shared=False)
    @tracked
    def paint():
        """Be used."""

    monkeypatch.setattr(queues, "connected", [queues.by_name("celery"), ToyQueue(**tasks)])
    assert found() == expected


def test_the_memory_store_is_fine_without_a_queue(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(queues, "connected", [])
    assert messages() == {}


# Access


def may_see(user, job):
    """A rule."""


@pytest.mark.parametrize("rule", ["everybody", "nowhere.rule", f"{__name__}.AUTH", None, 1])
def test_a_rule_of_access_that_cannot_be_called_is_an_error(settings, rule):
    settings.IMMORTUS_ACCESS = rule
    assert found() == {"E006"}
    assert repr(rule) in messages()["E006"].msg


@pytest.mark.parametrize("rule", ["owner", "login", f"{__name__}.may_see", may_see])
def test_a_rule_of_access_that_can_be_called_is_fine(settings, rule):
    settings.IMMORTUS_ACCESS = rule
    assert messages() == {}


async def may_see_late(user, job):
    """A coroutine, which is true of every user."""


@pytest.mark.parametrize("rule", [lambda user: True, f"{__name__}.who", lambda *, user, job: True, may_see_late])
def test_a_rule_of_access_that_takes_other_arguments_or_time_is_an_error(settings, rule):
    settings.IMMORTUS_ACCESS = rule
    assert found() == {"E006"}
    assert "(user, job)" in messages()["E006"].msg


@pytest.mark.parametrize("named", ["a_tenant", "nowhere.namespace_of", f"{__name__}.AUTH", 1, lambda: "a", may_see])
def test_a_namespace_function_that_cannot_be_called_is_an_error(settings, named):
    settings.IMMORTUS_NAMESPACE = named
    assert found() == {"E015"}
    assert repr(named) in messages()["E015"].msg


def test_a_namespace_function_that_can_be_called_is_fine(settings):
    for function in (lambda _: "a", lambda source, default="": "a", ChoiceOf("a").get, print):
        settings.IMMORTUS_NAMESPACE = function
        assert messages() == {}


@pytest.mark.parametrize(("carries", "expected"), [(True, set()), (False, {"W026"})])
def test_a_queue_without_headers_cannot_be_followed_with_namespaces(settings, monkeypatch, carries, expected):
    queue = ToyQueue(resize=TaskOptions())
    queue.carries_headers = carries
    monkeypatch.setattr(queues, "connected", [queue])
    assert found() == set()
    settings.IMMORTUS_NAMESPACE = lambda _: "a"
    assert found() == expected


# Channel layer


def layer(backend: str, **config: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": backend, "CONFIG": config}}


def test_the_warning_about_an_in_memory_layer_says_what_happens_instead(settings):
    settings.CHANNEL_LAYERS = layer(IN_MEMORY)
    assert found() == {"W002"}
    assert "re-checks the store" in messages()["W002"].msg


def test_an_in_memory_layer_is_fine_where_jobs_run_at_once(settings, celery_app):
    settings.CHANNEL_LAYERS = layer(IN_MEMORY)
    celery_app.conf.task_always_eager = True
    assert messages() == {}


def test_a_layer_that_is_not_configured_is_an_error(settings):
    settings.CHANNEL_LAYERS = layer(PUBSUB)
    settings.IMMORTUS_CHANNEL_LAYER = "jobs"
    assert found() == {"E007"}
    assert "'jobs'" in messages()["E007"].msg
    settings.CHANNEL_LAYERS = {"jobs": {"BACKEND": PUBSUB}}
    assert messages() == {}


@pytest.mark.parametrize(
    ("backend", "config"),
    [(CORE, {"host": [("127.0.0.1", 6379)]}), ("immortus_channels.testing.FaultyChannelLayer", {"drp": 0.3})],
)
def test_a_layer_that_cannot_be_made_of_its_settings_is_an_error(settings, backend, config):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    assert found() == {"E007"}
    assert next(iter(config)) in messages()["E007"].msg


def test_a_retention_that_was_meant_in_days_is_noticed(settings):
    settings.IMMORTUS_RETENTION = 7
    assert "7 days are 604800" in messages()["W015"].hint


@pytest.mark.parametrize("origin", ["https://*.example.com", "https://*"])
def test_a_pattern_is_no_origin(settings, origin):
    settings.IMMORTUS_ALLOWED_ORIGINS = [origin]
    assert found() == {"E013"}


@pytest.mark.parametrize("origin", ["capacitor://localhost", "tauri://localhost", "chrome-extension://abcdef"])
def test_an_app_s_scheme_makes_an_origin(settings, origin):
    settings.IMMORTUS_ALLOWED_ORIGINS = [origin]
    assert messages() == {}


@pytest.mark.parametrize("origin", ["capacitor://localhost/", "capacitor://*", "file://", "null", "wss://example.com"])
def test_what_no_page_and_no_app_has_is_no_origin(settings, origin):
    settings.IMMORTUS_ALLOWED_ORIGINS = [origin]
    assert found() == {"E013"}
    assert "capacitor://localhost" in messages()["E013"].hint


def deployed() -> dict[str, Any]:
    return {message.id[-4:]: message for message in run_checks(tags=["immortus"], include_deployment_checks=True)}


@pytest.mark.parametrize(
    ("changed", "is_found"),
    [
        ({}, True),
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, False),
        ({"SECURE_PROXY_SSL_HEADER": ["HTTP_X_SCHEME", "https"]}, False),
        ({"SECURE_PROXY_SSL_HEADER": ("X-Forwarded-Proto", "https")}, True),
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X-FORWARDED-PROTO", "https")}, True),
        ({"SECURE_PROXY_SSL_HEADER": "HTTP_X_FORWARDED_PROTO"}, True),
        ({"IMMORTUS_ALLOWED_ORIGINS": ["https://www.example.com"]}, False),
        ({"IMMORTUS_ALLOWED_ORIGINS": ["capacitor://localhost"]}, True),
        ({"IMMORTUS_WEBSOCKET": False}, False),
        ({"ASGI_APPLICATION": None}, False),
    ],
)
def test_check_deploy_warns_that_sockets_behind_https_need_a_setting(settings, changed, is_found):
    for name, value in changed.items():
        setattr(settings, name, value)
    assert ("W018" in deployed()) == is_found
    assert "W018" not in found(), "a development server needs none"
    if is_found:
        assert "HTTP_X_FORWARDED_PROTO" in deployed()["W018"].hint


@pytest.mark.case(13)
@pytest.mark.parametrize("backend", ["nowhere.Layer", "channels.layers.NoLayer", None])
def test_a_layer_that_cannot_be_imported_is_an_error(settings, backend):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    assert found() == {"E007"}


@pytest.mark.parametrize(
    ("hosts", "redis", "dies"),
    [
        (None, "8.1.0", True),
        (["redis://localhost:6379/0"], "8.1.0", True),
        ([("localhost", 6379)], "8.1.0", True),
        ([{"address": "redis://localhost"}], "8.1.0", True),
        ([{"address": "redis://localhost", "socket_timeout": 15}, ("localhost", 6379)], "8.1.0", True),
        ([{"address": "redis://localhost", "socket_timeout": 5}], "7.4.0", True),
        (["redis://localhost?db=1&socket_timeout=1"], "7.4.0", True),
        (["redis://localhost?socket_timeout=15"], "8.1.0", False),
        ([{"address": "redis://localhost", "socket_timeout": 15}], "8.1.0", False),
        ([{"address": "redis://localhost", "socket_timeout": None}], "8.1.0", False),
        ([{"sentinels": [("localhost", 26379)], "master_name": "m", "socket_timeout": 15}], "8.1.0", False),
        (["redis://localhost:6379/0"], "7.4.0", False),
    ],
)
def test_a_core_layer_that_gives_up_while_it_waits_is_found(settings, monkeypatch, hosts, redis, dies):
    monkeypatch.setattr(releases, "version", lambda package: redis if package == "redis" else known_version(package))
    settings.CHANNEL_LAYERS = layer(CORE, hosts=hosts, capacity=10_000)
    assert found() == ({"W003"} if dies else set())


@pytest.mark.parametrize("hosts", [["redis://localhost"], [("localhost", 6379)], [{"address": "redis://localhost"}]])
def test_the_layer_s_config_in_the_cure_cures(settings, hosts):
    settings.CHANNEL_LAYERS = layer(CORE, hosts=hosts)
    assert found() == {"W003", "W004"}
    config = re.search(r'"CONFIG": (\{.*\})\. Or', messages()["W003"].hint)
    settings.CHANNEL_LAYERS = layer(CORE, **ast.literal_eval(config[1]))
    assert messages() == {}


SECRET = "hunter2"


@pytest.mark.parametrize(
    "options",
    [
        {"url": f"redis://:{SECRET}@localhost"},
        {"url": f"redis://u:a@{SECRET}@localhost"},
        {"url": f"redis://u:a/{SECRET}@localhost"},
        {"url": f"rediss://u:{SECRET}%40@localhost/0"},
        {"url": f"unix://:{SECRET}@/run/redis.sock?db=1"},
        {"url": f"redis://localhost/0?db=1&password={SECRET}"},
        {"url": f"redis://localhost/0?PASSWORD={SECRET}&db=1"},
        {"url": f"redis://u:{SECRET}@localhost".encode()},
        {"urls": [f"redis://:{SECRET}@a", f"redis://:{SECRET}@b"]},
        {"urls": (f"redis://:{SECRET}@a,redis://:{SECRET}@b",)},
        {"PASSWORD": SECRET},
        {"passwd": SECRET, "pwd": SECRET, "redis_pass": SECRET, "api_key": SECRET, "AUTH_TOKEN": SECRET},
        {"sentinel_kwargs": {"password": SECRET}},
        {"sentinels": [("a", 1, {"password": SECRET})]},
        {"credentials": ("user", SECRET)},
        {"dsn": f"host=localhost password={SECRET} user=u"},
        {"client": SimpleNamespace(password=SECRET)},
    ],
    ids=str,
)
def test_a_password_of_the_store_is_shown_in_no_form(settings, options):
    for backend in ("redis", "tests.checks.test_checks.quotes_its_options", "no.such.backend"):
        settings.IMMORTUS_STORE = {"BACKEND": backend, "OPTIONS": {**options, "nonsense": 1}}
        told = messages()["E004"]
        assert SECRET not in f"{told.msg} {told.hint}"


def quotes_its_options(**options):
    raise ValueError(str(options))


@pytest.mark.parametrize("name", ["IMMORTUS_ALLOWED_ORIGINS", "IMMORTUS_REDIRECT_HOSTS"])
def test_a_password_in_an_origin_or_a_host_is_not_shown(settings, name):
    setattr(settings, name, [f"https://u:{SECRET}@www.example.com"])
    assert SECRET not in str(messages()["E013"])


def test_what_is_no_secret_is_shown(settings):
    options = {"url": "redis://localhost:6379/0?socket_timeout=1", "compass": "north", "host": "a@b"}
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": options}
    assert all(repr(value) in messages()["E004"].msg for value in options.values())


def test_a_password_of_the_layer_is_not_shown(settings):
    hosts = ["redis://:secret@localhost", {"host": "localhost", "password": "secret"}]
    settings.CHANNEL_LAYERS = layer(CORE, hosts=hosts)
    assert "secret" not in str(messages()["W003"])


@pytest.mark.parametrize(("config", "drops"), [({}, True), ({"capacity": 100}, True), ({"capacity": 101}, False)])
def test_a_core_layer_of_small_capacity_is_found(settings, config, drops):
    hosts = [{"address": "redis://localhost", "socket_timeout": 15}]
    settings.CHANNEL_LAYERS = layer(CORE, hosts=hosts, **config)
    assert found() == ({"W004"} if drops else set())


def test_the_pubsub_layer_is_fine_as_it_is(settings):
    settings.CHANNEL_LAYERS = layer(PUBSUB, hosts=["redis://localhost"])
    assert messages() == {}


class Waiting:
    """A layer that waits for messages as the core layers do; nobody's subclass."""

    brpop_timeout = 5

    def __init__(self, hosts=None, capacity=100):
        self.hosts, self.capacity = hosts or [{"address": "valkey://localhost"}], capacity

    def create_pool(self, index):
        return SimpleNamespace(make_connection=lambda: SimpleNamespace(socket_timeout=5))


class Patient(Waiting):
    brpop_timeout = 4


@pytest.mark.parametrize(
    ("backend", "config", "numbers"),
    [
        ("Waiting", {}, {"W003", "W004"}),
        ("Waiting", {"hosts": [{"host": "localhost", "socket_timeout": 15}]}, {"W004"}),
        ("Waiting", {"hosts": ["valkey://localhost?socket_timeout=15"], "capacity": 10_000}, set()),
        ("Waiting", {"hosts": ["valkey://localhost"], "capacity": 10_000}, {"W003"}),
        ("Patient", {"capacity": 10_000}, set()),
    ],
)
def test_a_layer_is_known_by_how_it_waits_not_by_its_class(settings, backend, config, numbers):
    settings.CHANNEL_LAYERS = layer(f"{__name__}.{backend}", **config)
    assert found() == numbers


@pytest.mark.parametrize("kind", ["core.ValkeyChannelLayer", "pubsub.ValkeyPubSubChannelLayer"])
def test_the_checks_judge_channels_valkey_layers_as_channels_redis_ones(settings, kind):
    need_package("channels_valkey", "channels-valkey")
    settings.CHANNEL_LAYERS = layer(f"channels_valkey.{kind}", hosts=["redis://localhost"])
    assert found() == ({"W003", "W004"} if kind.startswith("core") else set())
    if kind.startswith("core"):
        assert "channels_valkey.pubsub.ValkeyPubSubChannelLayer" in messages()["W003"].hint


class Bound:
    """A layer that can be made in a running event loop only, as channels_rabbitmq's."""

    def __init__(self, host="amqp://localhost"):
        asyncio.get_running_loop()
        if not isinstance(host, str):
            raise TypeError(host)


class NeverMade:
    def __init__(self):
        msg = "refused here and there"
        raise RuntimeError(msg)


class Needy:
    def __init__(self, **config):
        self.zone = config["TIME_ZONE"]


def test_a_layer_that_needs_an_event_loop_is_only_a_warning(settings):
    settings.CHANNEL_LAYERS = layer(f"{__name__}.Bound", host="amqp://localhost")
    assert found() == {"W017"}
    assert messages()["W017"].level < ERROR
    assert "immortus_doctor" in messages()["W017"].hint


async def test_the_same_where_an_event_loop_runs_already(settings):
    settings.CHANNEL_LAYERS = layer(f"{__name__}.Bound")
    assert list(checks.check_layer()) == []


def test_the_real_layer_of_channels_rabbitmq_stops_no_command(settings):
    need_package("channels_rabbitmq", "channels-rabbitmq")
    settings.CHANNEL_LAYERS = layer("channels_rabbitmq.core.RabbitmqChannelLayer", host="amqp://127.0.0.1:1/")
    assert found() == {"W017"}


@pytest.mark.parametrize(
    ("backend", "config", "told"),
    [("Bound", {"host": []}, "TypeError"), ("NeverMade", {}, "here and there"), ("Needy", {"HOST": ""}, "TIME_ZONE")],
)
def test_a_layer_that_cannot_be_made_anywhere_is_an_error_about_that_layer(settings, backend, config, told):
    settings.CHANNEL_LAYERS = layer(f"{__name__}.{backend}", **config)
    assert found() == {"E007"}
    assert told in messages()["E007"].msg
    assert "'hosts'" not in messages()["E007"].hint, "it has none"


# Middleware


class OwnMiddleware(JobOwnerMiddleware):
    """The project's own kind."""


def test_a_missing_middleware_is_found(settings):
    settings.MIDDLEWARE = [AUTH, "nowhere.Middleware"]
    assert found() == {"W001"}


def test_a_subclass_of_the_middleware_is_as_good(settings):
    settings.MIDDLEWARE = [AUTH, f"{__name__}.OwnMiddleware"]
    assert messages() == {}


@pytest.mark.django_db
@pytest.mark.parametrize("order", [(OWNER, AUTH), (AUTH, OWNER)])
def test_the_checks_accept_the_middleware_in_either_order(settings, client, admin_user, order):
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", *order]
    client.force_login(admin_user)
    assert client.get("/who").content.decode() == str(admin_user.pk)
    assert messages() == {}


# ASGI


class Ours(JobConsumer):
    """The project's own kind of the consumer."""


class Chat(AsyncWebsocketConsumer):
    """Somebody else's consumer."""


class TokenMiddleware:
    """Somebody else's way to find a user."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        """Let it through."""


class Opaque:
    """A wrapper that tells nothing."""

    def __init__(self, inner):
        self._hidden = inner


async def by_hand(scope, receive, send):
    """Dispatches as it likes."""


def leading_to(application: Any) -> ProtocolTypeRouter:
    return ProtocolTypeRouter({"http": http, "websocket": application})


http = get_asgi_application()
chat = re_path("^ws/chat/", Chat.as_asgi())
ours = re_path("^ws/immortus/", Ours.as_asgi())
whole = leading_to(websocket_application)
validated = leading_to(AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter([chat, *websocket_urlpatterns]))))
subclassed = leading_to(AuthMiddlewareStack(URLRouter([ours])))
nested = leading_to(AuthMiddlewareStack(URLRouter([path("", URLRouter([chat])), path("", URLRouter([ours]))])))
by_token = leading_to(TokenMiddleware(URLRouter([ours])))
wrapped = leading_to(AuthMiddlewareStack(URLRouter([chat, re_path("", websocket_application)])))
hidden = leading_to(Opaque(URLRouter([chat])))
http_only = ProtocolTypeRouter({"http": http})
only_chat = leading_to(AuthMiddlewareStack(URLRouter([chat])))
bare = leading_to(URLRouter(list(websocket_urlpatterns)))
with_session = leading_to(AllowedHostsOriginValidator(SessionMiddlewareStack(URLRouter([ours]))))
half_bare = leading_to(URLRouter([path("a", AuthMiddlewareStack(URLRouter([ours]))), ours]))
endless = TokenMiddleware(None)
endless.inner = endless


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        ("whole", None),
        ("validated", None),
        ("subclassed", None),
        ("nested", None),
        ("by_token", None),
        ("hidden", None),
        ("by_hand", None),
        ("endless", None),
        ("http", "W006"),
        ("http_only", "W006"),
        ("only_chat", "W006"),
        ("bare", "W007"),
        ("with_session", "W007"),
        ("half_bare", "W007"),
        ("not_there", "W005"),
    ],
)
def test_where_a_socket_ends_up_is_found_out_as_far_as_it_can_be_known(settings, application, expected):
    settings.ASGI_APPLICATION = f"{__name__}.{application}"
    assert found() == ({expected} if expected else set())


@pytest.mark.parametrize(
    ("application", "expected"),
    [("whole", set()), ("by_hand", set()), ("wrapped", set()), ("validated", {"W023"}), ("subclassed", {"W023"})],
)
def test_with_namespaces_sockets_that_are_refused_are_found(settings, application, expected):
    settings.IMMORTUS_NAMESPACE = ChoiceOf("a").get
    settings.ASGI_APPLICATION = f"{__name__}.{application}"
    assert found() == expected


def test_a_project_that_only_polls_hears_nothing_of_sockets(settings, monkeypatch):
    settings.ASGI_APPLICATION = f"{__name__}.http_only"
    settings.DEBUG = True
    monkeypatch.setattr(releases, "version", only("daphne", "4.0.0"))
    settings.IMMORTUS_WEBSOCKET = False
    assert messages() == {}


@pytest.mark.parametrize(
    ("by", "command", "expected"),
    [
        ("django.core", "runserver", {"W008"}),
        ("django.contrib.staticfiles", "runserver", {"W008"}),
        ("daphne", "runserver", set()),
        ("django.core", "check", set()),
        ("django.core", "migrate", set()),
    ],
)
def test_a_development_server_without_sockets_is_told_of_when_it_starts(monkeypatch, by, command, expected):
    monkeypatch.setattr(sockets, "get_commands", lambda: {"runserver": by})
    monkeypatch.setattr(sys, "argv", ["manage.py", command])
    assert found() == expected


def test_no_development_server_is_judged_where_there_is_no_asgi(settings, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["manage.py", "runserver"])
    assert found() == {"W008"}
    del settings.ASGI_APPLICATION
    assert messages() == {}


@pytest.mark.parametrize(
    ("daphne", "is_old"), [("4.2.1", True), ("4.2", True), ("4.2.2", False), ("5.0.0.dev1", False)]
)
def test_a_daphne_that_strangers_can_harm_is_found(monkeypatch, daphne, is_old):
    monkeypatch.setattr(releases, "version", only("daphne", daphne))
    assert found() == ({"W009"} if is_old else set())


def only(installed, release):
    """Stands for `importlib.metadata.version` where nothing else is installed."""

    def version(package):
        if package != installed:
            raise PackageNotFoundError(package)
        return release

    return version


@pytest.mark.parametrize(
    ("package", "release", "is_old"),
    [
        ("Django", "5.2.15", True),
        ("Django", "6.0.6", True),
        ("Django", "6.1", False),
        ("asgiref", "3.11.0", True),
        ("asgiref", "3.11.1", False),
        ("Twisted", "25.5.0", True),
    ],
)
def test_a_release_with_a_known_hole_is_found(monkeypatch, package, release, is_old):
    monkeypatch.setattr(releases, "version", only(package, release))
    found = messages()
    assert set(found) == ({"W013"} if is_old else set())
    assert not is_old or (package in found["W013"].msg and "CVE-" in found["W013"].msg)


@pytest.mark.parametrize(
    ("release", "tasks", "is_known"),
    [("3.5.4", ["paint"], True), ("3.6.0", ["paint"], False), ("4", ["paint"], False), ("3.6.0", [], True)],
)
def test_a_queue_s_release_that_its_adapter_does_not_know_is_found(monkeypatch, release, tasks, is_known):
    toys = ToyQueue(**{name: TaskOptions() for name in tasks})
    toys.tried = {"huey": ("3.4", "3.5"), "huey-extras": ("1.0",)}
    monkeypatch.setattr(queues, "connected", [toys])
    monkeypatch.setattr(releases, "version", only("huey", release))
    found = messages()
    assert set(found) == (set() if is_known else {"W024"})
    assert is_known or "3.4, 3.5" in found["W024"].msg


@pytest.mark.parametrize(
    ("hosts", "origins", "debug", "expected"),
    [
        (["*"], [], False, {"W014"}),
        (["example.com", "*"], [], False, {"W014"}),
        (["*"], ["https://example.com"], False, set()),
        ([".example.com"], [], False, set()),
        (["*"], [], True, set()),
    ],
)
def test_a_project_of_any_host_without_named_origins_is_found(settings, hosts, origins, debug, expected):
    settings.ALLOWED_HOSTS, settings.IMMORTUS_ALLOWED_ORIGINS, settings.DEBUG = hosts, origins, debug
    assert found() == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"sockets_per_user": 5, "ping": 10.5}, set()),
        ({"sokets": 5}, {"E014"}),
        ({"sockets": 0}, {"E014"}),
        ({"sockets": "many"}, {"E014"}),
        ({"sockets": True}, {"E014"}),
        (20, {"E014"}),
        ([], {"E014"}),
        (None, {"E014"}),
        ({"silence": 5}, {"E014"}),
        ({"ping": 30}, {"E014"}),
        ({"ping": 4, "silence": 5}, set()),
    ],
)
def test_limits_that_are_none_are_found(settings, limits, expected):
    settings.IMMORTUS_LIMITS = limits
    assert found() == expected


def test_a_daphne_that_is_not_installed_harms_nobody(monkeypatch):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(releases, "version", missing)
    assert messages() == {}


# Celery


def make_task(app: Celery) -> None:
    @app.task(name="shop.paint", shared=False)
    @tracked
    def paint():
        """Never run."""


@pytest.fixture
def default_app(monkeypatch):
    """Celery's own app, as it is made for a project whose app was never imported."""
    monkeypatch.setattr(_state, "_on_app_finalizers", set())  # the shared tasks of other tests
    monkeypatch.setattr(_state, "default_app", None)
    monkeypatch.setattr(_state._tls, "current_app", None)
    return _state.get_current_app()


def test_a_celery_app_that_is_not_loaded_is_found(default_app):
    make_task(default_app)
    assert found() == {"W010"}
    assert "'shop.paint'" in messages()["W010"].msg


def test_celery_without_tracked_tasks_is_left_alone(default_app):
    default_app.autodiscover_tasks(["immortus_channels"], force=True)
    assert messages() == {}


def test_an_app_that_was_made_too_late_for_other_threads_is_found(default_app, celery_app, monkeypatch):
    make_task(celery_app)
    monkeypatch.setattr(_state._tls, "current_app", celery_app)
    assert found() == {"W010"}


@pytest.mark.parametrize("pool", ["eventlet", "celery.concurrency.eventlet:TaskPool"])
def test_a_pool_of_eventlet_is_an_error(celery_app, pool):
    celery_app.conf.worker_pool = pool
    assert found() == {"E008"}
    assert pool in messages()["E008"].msg


@pytest.mark.parametrize("pool", ["gevent", "celery.concurrency.gevent:TaskPool"])
def test_a_pool_of_gevent_cannot_push(celery_app, pool):
    make_task(celery_app)
    celery_app.conf.worker_pool = pool
    assert found() == {"W025"}
    assert pool in messages()["W025"].msg


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_other_pool_is_fine(celery_app, pool):
    celery_app.conf.worker_pool = pool
    assert messages() == {}


def test_messages_that_cannot_say_whose_a_job_is_are_found(celery_app):
    make_task(celery_app)
    assert messages() == {}
    celery_app.conf.task_protocol = 1
    assert found() == {"W020"}


def test_a_coroutine_function_that_celery_does_not_await_is_found(celery_app):
    @celery_app.task(name="shop.untracked", shared=False)
    async def untracked():
        """None of ours."""

    @celery_app.task(name="shop.plain", shared=False)
    @tracked
    @async_to_sync
    async def plain():
        """Awaited."""

    @celery_app.task(name="shop.awaited", shared=False, base=Awaiting)
    @tracked
    async def awaited():
        """Awaited."""

    assert messages() == {}

    @celery_app.task(name="shop.async", shared=False)
    @tracked
    async def forgotten():
        """Never awaited."""

    assert "'shop.async' is an `async def`" in messages()["W021"].msg


class Awaiting(Task):
    """A project's own base class, which awaits."""

    def __call__(self, *args, **kwargs):
        return asyncio.run(self.run(*args, **kwargs))


def test_a_project_that_tracks_nothing_may_send_as_it_likes(default_app):
    default_app.autodiscover_tasks(["immortus_channels"], force=True)
    default_app.conf.task_protocol = 1
    assert messages() == {}


@pytest.fixture
def queue():
    """An adapter of its own, connected."""
    queue = CeleryQueue()
    queue.connect(Port(queue, tracking))
    yield queue
    for signal, receiver in queue._receivers:
        signal.disconnect(receiver)


def is_connected(queue: CeleryQueue) -> bool:
    known = {receiver for _, receiver in signals.task_prerun.receivers}
    return any(receiver in known for signal, receiver in queue._receivers if signal is signals.task_prerun)


def test_a_worker_of_eventlet_is_told_so_and_its_jobs_are_left_alone(queue, caplog):
    assert is_connected(queue)
    queue._on_worker_init(sender=SimpleNamespace(pool_cls="eventlet", app=SimpleNamespace(tasks={})))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "prefork, threads or gevent" in caplog.text
    assert not is_connected(queue)


@pytest.mark.parametrize("pool", [Celery, "gevent"])
def test_any_other_worker_is_followed(queue, caplog, pool):
    queue._on_worker_init(sender=SimpleNamespace(pool_cls=pool, app=SimpleNamespace(tasks={})))
    assert is_connected(queue)
    assert not caplog.records


GREEN_POOL = """
from celery.concurrency import solo

class TaskPool(solo.TaskPool):
    __module__ = "celery.concurrency.eventlet"
"""


@pytest.fixture
def green_site(tmp_path) -> Any:
    """A site whose worker believes that it runs on eventlet."""
    (tmp_path / "green_pool.py").write_text(GREEN_POOL)
    with running_site(tmp_path, CELERY_CUSTOM_WORKER_POOL="green_pool:TaskPool") as site:
        site.env["PYTHONPATH"] += f":{tmp_path}"
        yield site


@pytest.mark.slow
def test_a_worker_of_eventlet_runs_its_jobs_untouched(green_site: Site):
    worker = green_site.start_worker("--pool=custom")
    job_id = green_site.start("quick")
    eventually(lambda: "quick" in worker.output and " succeeded in " in worker.output, within=15)
    assert green_site.verify(job_id)["state"] == "enqueued"
    assert worker.output.count("eventlet is not supported") == 1


# The settings' own values


@pytest.mark.parametrize("value", ["0.2", timedelta(days=7), 0, -1, True, float("nan"), float("inf")])
def test_seconds_are_a_number_above_nothing(settings, value):
    settings.IMMORTUS_RETENTION = value
    assert "E009" in found()


def test_no_drain_at_all_may_be_wanted(settings):
    settings.IMMORTUS_DRAIN = 0
    assert found() == set()
    settings.IMMORTUS_DRAIN = -1
    assert "or 0" in messages()["E009"].hint


def test_a_job_is_stalled_before_it_is_lost(settings):
    settings.IMMORTUS_STALLED_AFTER = 100
    assert found() == {"E010"}


@pytest.mark.parametrize("name", ["IMMORTUS_ALLOWED_ORIGINS", "IMMORTUS_REDIRECT_HOSTS"])
@pytest.mark.parametrize("value", ["https://example.com", None, 5, {"https://example.com": 1}])
def test_a_list_is_a_list(settings, name, value):
    setattr(settings, name, value)
    assert found() == {"E011"}


@pytest.mark.parametrize("origin", ["example.com", "https://example.com/", "https://*.example.com/app", "//x", None])
def test_an_origin_that_no_page_has_is_an_error(settings, origin):
    settings.IMMORTUS_ALLOWED_ORIGINS = ["https://example.com", origin]
    message = messages()["E013"]
    assert repr(origin) in message.msg
    assert "'https://www.example.com'" in message.hint


@pytest.mark.parametrize("host", ["https://example.com", "example.com/thanks", ""])
def test_a_host_to_lead_to_that_is_none_is_an_error(settings, host):
    settings.IMMORTUS_REDIRECT_HOSTS = ["example.com:8000", host]
    message = messages()["E013"]
    assert repr(host) in message.msg
    assert "'www.example.com'" in message.hint


@pytest.mark.parametrize("value", ["False", 0, None])
def test_sockets_are_on_or_off(settings, value):
    settings.IMMORTUS_WEBSOCKET = value
    assert "True or False" in messages()["E013"].hint


@pytest.mark.parametrize("value", ["False", 0, 1])
def test_writes_are_inline_or_not_or_as_tests_want_it(settings, value):
    settings.IMMORTUS_INLINE = value
    assert "True or False" in messages()["E013"].hint


@pytest.mark.parametrize("value", [None, True, False])
def test_each_of_the_three_ways_to_write_is_fine(settings, value):
    settings.IMMORTUS_INLINE = value
    assert "E013" not in found()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("IMMORTUS_ACESS", "Is IMMORTUS_ACCESS meant? See docs"),
        ("IMMORTUS_DRAINS", "Is IMMORTUS_DRAIN meant? See docs"),
        ("IMMORTUS_COLOUR", "See docs"),
    ],
)
def test_a_misspelt_setting_is_found(settings, name, hint):
    setattr(settings, name, "login")
    assert found() == {"W011"}
    assert messages()["W011"].hint.startswith(hint)


@pytest.mark.parametrize("value", [b"a secret", 4711, True, ["a secret"]])
def test_the_token_for_metrics_is_text_and_not_shown(settings, value):
    settings.IMMORTUS_METRICS_TOKEN = value
    assert found() == {"E013"}
    assert "secret" not in messages()["E013"].msg


@pytest.mark.parametrize(
    ("name", "value"),
    [("sockets", float("inf")), ("token_life", float("inf")), ("frames_at_once", 0.5), ("denials", float("nan"))],
)
def test_a_limit_is_finite_and_a_count_is_at_least_one(settings, name, value):
    settings.IMMORTUS_LIMITS = {name: value}
    assert found() == {"E014"}
    settings.IMMORTUS_LIMITS = {"bytes_at_once": 1e6, "frames_per_second": 0.5}
    assert messages() == {}
