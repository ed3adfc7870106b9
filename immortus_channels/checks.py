"""The mistakes people make, found by `manage.py check`, each with what to do about it.

Nothing here connects to anything, and what belongs to one task queue is asked of its adapter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Warning, register  # noqa: A004 - Django's name
from django.core.management import get_commands
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from immortus_channels import foreign, handlers, limits, marking, queues, strategies
from immortus_channels.advisories import ADVISORIES
from immortus_channels.conf import Settings, settings
from immortus_channels.exceptions import ImmortusError
from immortus_channels.middleware import JobOwnerMiddleware
from immortus_channels.stores import get_store

Findings = Iterator[CheckMessage]

ID = "immortus_channels"
TAG = "immortus"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"


def connect() -> None:
    """Have Django run all of them."""
    register(check_all, TAG)


def check_all(**_: object) -> list[CheckMessage]:
    """Everything that is wrong with how this project uses the package."""
    # The addresses first: they import the views, and the views the tasks.
    checks = (
        check_values,
        check_urls,
        check_strategies,
        check_handlers,
        check_marks,
        check_store,
        check_sqlite,
        check_access,
        check_layer,
        check_middleware,
        check_limits,
        check_versions,
    )
    sockets = (check_socket, check_runserver, check_daphne, check_hosts) if settings.WEBSOCKET else ()
    found = [message for check in (*checks, *sockets) for message in check()]
    return [*found, *(message for queue in queues.connected for message in queue.problems())]


def _runs_elsewhere() -> bool:
    """Whether some jobs run in other processes than the ones that send them."""
    return any(not queue.is_eager() for queue in queues.connected)


# What is named in settings


_SECONDS = ("FLUSH_INTERVAL", "RECHECK_INTERVAL", "STALLED_AFTER", "LOST_AFTER", "RETENTION", "DRAIN")
_OR_NONE_AT_ALL = "DRAIN"
_SEVERAL = ("ALLOWED_ORIGINS", "REDIRECT_HOSTS")


def check_values() -> Findings:
    """Whether each setting is one, and of the kind it must be."""
    names = [name for name in dir(django_settings) if name.startswith("IMMORTUS_")]
    for unknown in (name for name in names if not hasattr(Settings, name.removeprefix("IMMORTUS_"))):
        yield Warning(f"{unknown} is no setting of {ID}.", hint="See the README's table.", id=f"{ID}.W011")
    for name in _SECONDS:
        value = getattr(settings, name)
        if name == _OR_NONE_AT_ALL and value == 0:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            yield Error(f"IMMORTUS_{name} is {value!r}.", hint="Give seconds, as a number above 0.", id=f"{ID}.E009")
            return
    if settings.LOST_AFTER <= settings.STALLED_AFTER:
        yield Error(
            f"IMMORTUS_LOST_AFTER ({settings.LOST_AFTER!r}) is not after IMMORTUS_STALLED_AFTER "
            f"({settings.STALLED_AFTER!r}), so jobs would be lost before they are called stalled.",
            hint="A silent job is stalled first and lost later: 15 and 60 seconds by default.",
            id=f"{ID}.E010",
        )
    for name in _SEVERAL:
        value = getattr(settings, name)
        if isinstance(value, str):
            yield Error(f"IMMORTUS_{name} is the text {value!r}.", hint=f"Give a list: [{value!r}].", id=f"{ID}.E011")
            return
    yield from _check_origins_and_hosts()
    websocket: object = settings.WEBSOCKET
    if not isinstance(websocket, bool):
        yield Error(f"IMMORTUS_WEBSOCKET is {websocket!r}.", hint="Give True or False.", id=f"{ID}.E013")


def _check_origins_and_hosts() -> Findings:
    """Whether a page can have each origin, and an address each host."""
    allowed: Any = settings.ALLOWED_ORIGINS
    hosts: Any = settings.REDIRECT_HOSTS
    for value in allowed:
        if not _is_origin(value):
            yield Error(
                f"IMMORTUS_ALLOWED_ORIGINS has {value!r}, which is no origin of a page.",
                hint="Give scheme and host, and a port if there is one: 'https://www.example.com'.",
                id=f"{ID}.E013",
            )
    for value in hosts:
        if not isinstance(value, str) or not value or "/" in value:
            yield Error(
                f"IMMORTUS_REDIRECT_HOSTS has {value!r}, which is no host.",
                hint="Give the host alone, and a port if there is one: 'www.example.com'.",
                id=f"{ID}.E013",
            )


def _is_origin(value: object) -> bool:
    from immortus_channels.consumers import origins  # noqa: PLC0415 - workers, which check nothing, need no sockets

    return isinstance(value, str) and origins.parse(value) is not None


def check_limits() -> Findings:
    """Whether `IMMORTUS_LIMITS` names limits, with numbers."""
    given: object = settings.LIMITS
    pairs = given.items() if isinstance(given, Mapping) else [(given, None)]
    for name, value in pairs:
        if name not in limits.NAMES or isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            yield Error(
                f"IMMORTUS_LIMITS has {name!r}: {value!r}, which is no limit.",
                hint=f"Give numbers above 0 for any of {', '.join(sorted(limits.NAMES))}.",
                id=f"{ID}.E014",
            )


def check_versions() -> Findings:
    """Whether what is installed has holes that are known."""
    for advisory in ADVISORIES:
        installed = _version(advisory.package)
        if installed and advisory.concerns(installed):
            yield Warning(
                f"{advisory.package} {'.'.join(map(str, installed))} {advisory.harm} ({', '.join(advisory.names)}).",
                hint=f"Install {advisory.cure}, or the newest release.",
                id=f"{ID}.W013",
            )


def check_sqlite() -> Findings:
    """Whether tasks on SQLite can be followed without getting into each other's transactions."""
    store: object = settings.STORE
    if not isinstance(store, Mapping) or store.get("BACKEND", "database") != "database":
        return
    alias = store.get("OPTIONS", {}).get("using", "default")
    database = django_settings.DATABASES.get(alias, {})
    is_sqlite = database.get("ENGINE") == "django.db.backends.sqlite3"
    if is_sqlite and _runs_elsewhere() and database.get("OPTIONS", {}).get("transaction_mode") != "IMMEDIATE":
        yield Info(
            f"Transactions of the SQLite database {alias!r} begin without the lock to write, so a task that reads and "
            "later writes in one of them fails (database is locked) when anybody writes meanwhile, its own progress "
            "included.",
            hint=f'DATABASES[{alias!r}]["OPTIONS"] = {{"transaction_mode": "IMMEDIATE", "timeout": 20}}, and '
            '"init_command": "PRAGMA journal_mode=WAL"; or a database server.',
            id=f"{ID}.I001",
        )


def check_urls() -> Findings:
    """Whether browsers can ask for the state of a job."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return
    try:
        reverse("immortus:verify")
    except NoReverseMatch:
        yield Error(
            f"The addresses of {ID} are not in {django_settings.ROOT_URLCONF!r}, so no page can follow a job.",
            hint="Write `from immortus_channels.urls import immortus_jobs` and `urlpatterns = [*immortus_jobs(), …]`.",
            id=f"{ID}.E001",
        )


def check_strategies() -> Findings:
    """Whether every strategy that is named can be found."""
    if settings.TRACKING_STRATEGY is not None:
        yield from _check_strategy(
            settings.TRACKING_STRATEGY, f"IMMORTUS_TRACKING_STRATEGY is {settings.TRACKING_STRATEGY!r}", f"{ID}.E002"
        )
    for queue in queues.connected:
        for name in sorted(queue.tracked_names()):
            tracking = queue.tracking(name)
            if tracking is not None and tracking.strategy is not None:
                where = f"The task {name!r} is tracked by the strategy {tracking.strategy!r}"
                yield from _check_strategy(tracking.strategy, where, f"{ID}.E003")


def _check_strategy(named: Any, where: str, id_: str) -> Findings:
    try:
        strategies.load(named)
    except Exception as error:  # noqa: BLE001 - users' modules and constructors may raise anything
        yield Error(
            f"{where}, which cannot be used: {_told(error)}",
            hint="Give a class, the dotted path of one, or its short name: `process_image_strategy` is the class "
            f"`ProcessImageStrategy` in the module `{strategies.MODULE}` of an installed app.",
            id=id_,
        )


def check_handlers() -> Findings:
    """Whether every handler that a task names can be found."""
    for queue in queues.connected:
        for name in sorted(queue.tracked_names()):
            tracking = queue.tracking(name)
            if tracking is not None and tracking.handler is not None:
                yield from _check_handler(name, tracking.handler)


def _check_handler(task: str, named: Any) -> Findings:
    try:
        handlers.load(named)
    except Exception as error:  # noqa: BLE001 - users' modules may raise anything
        yield Error(
            f"The task {task!r} has the handler {named!r}, which cannot be used: {_told(error)}",
            hint="Give a subclass of JobHandler, the dotted path of one, or its short name: `nice_handler` is "
            f"`NiceHandler` in the module `{handlers.MODULE}` of an installed app.",
            id=f"{ID}.E012",
        )


def check_marks() -> Findings:
    """Whether a queue that is followed has each function that bears the mark."""
    followed = {
        tracking.place
        for queue in queues.connected
        for name in queue.tracked_names()
        if (tracking := queue.tracking(name)) is not None
    }
    for place in sorted(marking.places - followed):
        module, _, name = place.rpartition(".")
        found = getattr(sys.modules.get(module), name, None)
        queue = foreign.queue_of(found)
        if queue is not None:
            yield _unread_mark(place, f"is a task of {queue}, which has no adapter here", foreign.CURE)
        elif marking.is_marked_function(found, place):
            cure = "Write the decorator of a Celery task above it: `@shared_task`, then `@tracked`."
            yield _unread_mark(place, "is no task of any task queue in use", cure)


def _unread_mark(place: str, what: str, cure: str) -> CheckMessage:
    msg = f"{place!r} is marked with @tracked, but {what}, so its jobs are not followed."
    return Warning(msg, hint=cure, id=f"{ID}.W012")


def check_store() -> Findings:
    """Whether there is a store, and one that workers share."""
    try:
        store = get_store()
    except Exception as error:  # noqa: BLE001 - a store of the project's own may raise anything
        yield Error(
            f"IMMORTUS_STORE is {_without_passwords(settings.STORE)!r}, which cannot be used: {_told(error)}",
            hint='For example {"BACKEND": "database"}, or {"BACKEND": "redis", "OPTIONS": {"url": "redis://…"}} after '
            "`pip install immortus-channels[redis]`.",
            id=f"{ID}.E004",
        )
        return
    if not store.is_shared and _runs_elsewhere():
        yield Error(
            f"IMMORTUS_STORE is {settings.STORE!r}, which every process has for itself: what a worker says of its jobs "
            "reaches no page.",
            hint='Use {"BACKEND": "database"} or "redis"; "memory" is for tests, and for queues that run jobs at once '
            "(CELERY_TASK_ALWAYS_EAGER).",
            id=f"{ID}.E005",
        )


def check_access() -> Findings:
    """Whether the rule for who may see a job can be called."""
    rule: Any = settings.ACCESS
    if rule in ("owner", "login"):
        return
    try:
        is_rule = callable(import_string(rule) if isinstance(rule, str) else rule)
    except Exception:  # noqa: BLE001 - the module may raise anything; the message is the same
        is_rule = False
    if not is_rule:
        yield Error(
            f"IMMORTUS_ACCESS is {rule!r}, which is no function that can be imported, so nobody may see any job.",
            hint='Give "owner", "login" or the dotted path of a function (user, job) -> bool.',
            id=f"{ID}.E006",
        )


def check_middleware() -> Findings:
    """Whether jobs get to know whose they are.

    Its place among the others does not matter: the user is looked up when a job is sent.
    """
    if any(_is_owner_middleware(path) for path in django_settings.MIDDLEWARE):
        return
    yield Warning(
        "JobOwnerMiddleware is not in MIDDLEWARE, so jobs that views start belong to nobody, and with IMMORTUS_ACCESS "
        '"owner" whoever knows such a job\'s id may see it.',
        hint='Add "immortus_channels.middleware.JobOwnerMiddleware" below '
        '"django.contrib.auth.middleware.AuthenticationMiddleware".',
        id=f"{ID}.W001",
    )


def _is_owner_middleware(path: str) -> bool:
    if path.startswith("django."):
        return False
    try:
        found = import_string(path)
    except ImportError:  # Django says so itself
        return False
    return isinstance(found, type) and issubclass(found, JobOwnerMiddleware)


# The channel layer


def check_layer() -> Findings:
    """Whether the channel layer reaches other processes, and keeps reaching them.

    None at all is fine: the store is re-checked instead.
    """
    layers, alias = getattr(django_settings, "CHANNEL_LAYERS", {}), settings.CHANNEL_LAYER
    if alias not in layers:
        if alias != "default":
            yield Error(
                f"IMMORTUS_CHANNEL_LAYER is {alias!r}, which is not in CHANNEL_LAYERS.",
                hint=f"CHANNEL_LAYERS has {', '.join(map(repr, layers)) or 'nothing'}.",
                id=f"{ID}.E007",
            )
        return
    named, config = layers[alias].get("BACKEND"), layers[alias].get("CONFIG", {})
    try:
        backend = import_string(named)
    except Exception as error:  # noqa: BLE001 - a third party's module may raise anything
        yield Error(
            f"CHANNEL_LAYERS[{alias!r}] is {named!r}, which cannot be imported: {_told(error)}",
            hint="For Redis: `pip install channels_redis`. Without CHANNEL_LAYERS pages re-check the store instead.",
            id=f"{ID}.E007",
        )
        return
    lineage = {_path_of(kind) for kind in getattr(backend, "__mro__", ())}
    if IN_MEMORY in lineage and _runs_elsewhere():
        yield _in_memory(alias, named)
    if CORE in lineage:
        yield from _check_core_layer(backend, config)


def _in_memory(alias: str, named: str) -> CheckMessage:
    return Warning(
        f"CHANNEL_LAYERS[{alias!r}] is {named!r}, which cannot reach other processes, and jobs run in other processes: "
        "changes are not pushed. Pages learn of them when the server re-checks the store, four times a second.",
        hint=f'For pushes: {{"BACKEND": "{PUBSUB}", "CONFIG": {{"hosts": [{{"address": "redis://localhost:6379/0", '
        '"socket_connect_timeout": 1, "socket_timeout": 1}]}}. If re-checks are enough, remove it from CHANNEL_LAYERS.',
        id=f"{ID}.W002",
    )


def _check_core_layer(backend: Any, config: Mapping[str, Any]) -> Findings:
    hosts = [_as_options(host) for host in config.get("hosts") or ["redis://localhost:6379"]]
    blocking = getattr(backend, "brpop_timeout", 5)
    timeouts = [_timeout_of(host) for host in hosts]
    if any(timeout is not None and timeout <= blocking for timeout in timeouts):
        cured = [{**host, "socket_timeout": 3 * blocking} for host in map(_without_passwords, hosts)]
        yield Warning(
            f"The channel layer {_path_of(backend)!r} waits {blocking} s for a message, and redis-py gives up after "
            f"socket_timeout={min(t for t in timeouts if t is not None):g} s (5 s by default since redis-py 8): "
            "listening fails whenever nothing happens for so long, and pushes are lost until it works again.",
            hint=f'Give each host a longer one: "CONFIG": {{"hosts": {cured!r}, "capacity": 10000}}. Or use {PUBSUB}, '
            "which does not wait in this way.",
            id=f"{ID}.W003",
        )
    capacity = config.get("capacity", 100)
    if capacity <= 100:  # noqa: PLR2004 - the layer's own default
        yield Warning(
            f"The channel layer {_path_of(backend)!r} has a capacity of {capacity} messages for all sockets of a "
            "process together, and drops what exceeds it without telling anyone.",
            hint=f'Add "capacity": 10000 to its CONFIG, or use {PUBSUB}, which has no such limit.',
            id=f"{ID}.W004",
        )


def _as_options(host: Any) -> dict[str, Any]:
    """A host as channels_redis understands it: a dict, an address, or host and port."""
    match host:
        case Mapping():
            return dict(host)
        case [name, port]:
            return {"host": name, "port": port}
    return {"address": host}


def _timeout_of(host: Mapping[str, Any]) -> float | None:
    """Seconds after which redis-py gives up an answer; None for never. Version 8 made 5 s the default."""
    in_address = re.search(r"[?&]socket_timeout=([\d.]+)", str(host.get("address", "")))
    if in_address:
        return float(in_address[1])
    default = 5.0 if _version("redis") >= (8,) else None
    timeout: float | None = host.get("socket_timeout", default)
    return timeout


def _without_passwords(value: Any) -> Any:
    """A setting fit for a log."""
    match value:
        case Mapping():
            return {key: "…" if "password" in str(key) else _without_passwords(item) for key, item in value.items()}
        case str():
            return re.sub(r"(//[^/@]*:)[^/@]*@", r"\1…@", value)
    return value


# The socket


def check_socket() -> Findings:
    """Whether the ASGI application leads sockets to this package, with a login on the way.

    What somebody else's middleware does cannot be known, so nothing is said of it.
    """
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        return
    try:
        application = import_string(path)
    except Exception as error:  # noqa: BLE001 - the project's module may raise anything
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, which cannot be imported: {_told(error)}",
            hint="Correct it, or remove it: without it pages poll.",
            id=f"{ID}.W005",
        )
        return
    ends = list(_ends(application, ()))
    ours = [(end, above) for end, above in ends if _is_ours(end)]
    if not ours and all(_is_dead_end(end) for end, _ in ends):
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, which leads no socket to {ID}: pages poll.",
            hint="Serve ProtocolTypeRouter({'http': get_asgi_application(), 'websocket': websocket_application}) with "
            "`from immortus_channels.routing import websocket_application`, or add websocket_urlpatterns to your "
            "URLRouter. If polling is enough, set IMMORTUS_WEBSOCKET = False.",
            id=f"{ID}.W006",
        )
    if any(_path_of(end) != _WITH_LOGIN and above <= _WITHOUT_LOGIN for end, above in ours):
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, whose sockets come to {ID} without a user: everybody is anonymous there, "
            "and is refused the jobs they may see by polling.",
            hint="Wrap your URLRouter in channels.auth.AuthMiddlewareStack, or serve websocket_application of "
            "immortus_channels.routing.",
            id=f"{ID}.W007",
        )


_WITH_LOGIN = "immortus_channels.routing.websocket_application"
_BARE = "immortus_channels.routing.job_socket"
_CONSUMER = "immortus_channels.consumers.consumer.JobConsumer"
_WITHOUT_LOGIN = frozenset(
    {
        "channels.routing.ProtocolTypeRouter",
        "channels.routing.URLRouter",
        "channels.sessions.CookieMiddleware",
        "channels.sessions.SessionMiddleware",
        "channels.security.websocket.OriginValidator",
    }
)
"""What may stand above a consumer and certainly finds out nobody's user."""
_INNER = ("inner", "application", "app")
_DEEPEST = 50


def _ends(application: Any, above: tuple[str, ...]) -> Iterator[tuple[Any, frozenset[str]]]:
    """Every application in which a socket may end up, with the paths of what stands above it.

    Routers and middleware are known by their attributes, so that subclasses and other people's are seen through too.
    """
    below = (*above, _path_of(type(application)))
    protocols, routes = getattr(application, "application_mapping", None), getattr(application, "routes", None)
    inner = next(filter(callable, (getattr(application, name, None) for name in _INNER)), None)
    if isinstance(protocols, Mapping):
        inners = [protocols["websocket"]] if "websocket" in protocols else []
    elif isinstance(routes, list | tuple):
        inners = [route.callback for route in routes if getattr(route, "callback", None)]
    elif inner is not None and len(above) < _DEEPEST:
        inners = [inner]
    else:
        yield application, frozenset(above)
        return
    for each in inners:
        yield from _ends(each, below)


def _is_ours(end: Any) -> bool:
    lineage = getattr(getattr(end, "consumer_class", None), "__mro__", ())
    return _path_of(end) in (_WITH_LOGIN, _BARE) or _CONSUMER in map(_path_of, lineage)


def _is_dead_end(end: Any) -> bool:
    """Whether it is known to lead no further: somebody else's consumer, or Django's own HTTP handler."""
    return hasattr(end, "consumer_class") or _path_of(type(end)).startswith("django.")


def check_runserver() -> Findings:
    """Whether the development server serves sockets."""
    has_asgi = bool(getattr(django_settings, "ASGI_APPLICATION", None))
    by = get_commands().get("runserver")
    if django_settings.DEBUG and has_asgi and by in ("django.core", "django.contrib.staticfiles"):
        yield Warning(
            f"ASGI_APPLICATION is set, but `runserver` is the one of {by!r}, which serves no sockets: pages poll.",
            hint='`pip install daphne` and put "daphne" into INSTALLED_APPS, before "django.contrib.staticfiles".',
            id=f"{ID}.W008",
        )


def check_daphne() -> Findings:
    """Whether Daphne is one that bounds what a stranger may send."""
    installed = _version("daphne")
    if getattr(django_settings, "ASGI_APPLICATION", None) and () < installed < (4, 2, 2):
        yield Warning(
            f"daphne {'.'.join(map(str, installed))} takes WebSocket messages of any size (CVE-2026-44545) and can be "
            "made to see headers that nobody sent (CVE-2026-44546).",
            hint="`pip install 'daphne>=4.2.2'`.",
            id=f"{ID}.W009",
        )


def check_hosts() -> Findings:
    """Whether it can be told which pages are the project's own."""
    is_anybody = "*" in django_settings.ALLOWED_HOSTS and not django_settings.DEBUG
    if getattr(django_settings, "ASGI_APPLICATION", None) and is_anybody and not settings.ALLOWED_ORIGINS:
        yield Warning(
            "ALLOWED_HOSTS has '*', so a page of any host that leads here may open sockets: which pages are yours "
            "cannot be told.",
            hint="Name your hosts in ALLOWED_HOSTS, or your pages' origins in IMMORTUS_ALLOWED_ORIGINS: "
            '["https://www.example.com"]. Only those may then open sockets.',
            id=f"{ID}.W014",
        )


def _version(package: str) -> tuple[int, ...]:
    """The installed release of a package; () when it is not installed."""
    try:
        return tuple(int(part) for part in re.findall(r"\d+", version(package))[:3])
    except PackageNotFoundError:
        return ()


def _path_of(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def _told(error: Exception) -> str:
    """An error in a sentence: our own speak for themselves."""
    return str(error) if isinstance(error, ImmortusError) else f"{type(error).__name__}: {error}."
