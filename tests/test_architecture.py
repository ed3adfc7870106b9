"""Who may import whom, which module knows which third party, and that every module has a test with a short name."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import immortus_channels
from immortus_channels import exceptions

ROOT = Path(__file__).parent.parent
NAME = "immortus_channels"
PACKAGE = ROOT / NAME

ROOMS = (
    "protocol recent errands handshake keys current",
    "exceptions logs metrics loading threads",
    "guarded bounded_calls",
    "jobs",
    "conf models",
    "stores push",
    "writer",
    "queues",
    "tracking",
    "access middleware",
    "api websocket",
    "http admin_list",
    "tasks",
    "checks testing",
    "__init__ apps admin urls routing celery broadcast handles management templatetags migrations",
)
"""From the ground up: a room imports from the rooms above it in this list alone, neither from below nor beside it.

The last line are the doors, which are opened by path: by Django, Channels, Celery, or by projects.
"""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms.split()}

DEFERRED = {
    "apps": "Django imports it before there is an app registry",
    "migrations.0002_jobs_file": "only a migration that runs may need the file",
    "routing": "asgi.py imports it before Django is set up",
}
"""The modules that may import inside of functions, each with its reason."""

PURE = {
    *("jobs", "jobs.counting", "jobs.job", "jobs.events", "keys", "jobs.lifecycle", "jobs.progress"),
    *("jobs.strict_json", "jobs.versions", "protocol", "recent", "access.buckets"),
}
"""The standard library and each other, nothing else."""

OWNERS = {
    "arq": {"queues.arq"},
    "channels": {"push.layer", "websocket", "routing", "testing.layers"},
    "celery": {"queues.celery", "queues.django_tasks.lent_to_celery", "celery", "tasks"},
    "kombu": {"queues.celery", "celery"},
    "billiard": {"queues.celery", "celery"},
    "dramatiq": {"queues.dramatiq"},
    "django_q": {"queues.django_q"},
    "django_tasks": set(),
    "django_tasks_db": set(),
    "rq": {"queues.rq"},
    "django_rq": {"queues.rq"},
    "huey": {"queues.huey"},
    "procrastinate": {"queues.procrastinate"},
    "django_tenants": {"jobs.tenants"},
    "pytest": {"testing.queues"},
    "redis": {"stores.redis_connection"},
    "saq": {"queues.saq"},
    "taskiq": {"queues.taskiq"},
    "taskiq_dependencies": {"queues.taskiq"},
    "channels_redis": set(),
    "daphne": set(),
}
"""Which modules and folders know a third party; Django and asgiref are everybody's."""

API = {
    *("tracked", "current_job", "get_job", "aget_job", "get_strategy", "started_by"),
    *("TrackingStrategy", "JobHandle", "JobHandler", "JobRepository", "JobState"),
    *(
        name
        for name, thing in vars(exceptions).items()
        if isinstance(thing, type) and issubclass(thing, exceptions.ImmortusError)
    ),
    *("render_immortus", "job_info", "job_page_url", "revoke_access", "access_token"),
}
"""What may be imported from the package itself."""

TESTED_BY = {
    "admin_list.py": "test_admin.py",
    "checks": "checks/test_checks.py",
    "checks/doctor": "management/test_immortus_doctor.py",
    "checks/doctor/layer_hosts.py": "checks/doctor/test_layer_hosts.py",
    "access/revocation.py": "push/test_revocations.py",
    "api/remote.py": "api/test_job.py",
    "api/strategy.py": "tracking/test_strategies.py",
    "broadcast.py": "test_architecture.py",
    "current.py": "queues/test_celery_receivers.py",
    "handles.py": "test_architecture.py",
    "handshake.py": "websocket/test_origins.py",
    "jobs/tenants.py": "acceptance/test_tenants.py",
    "http/page_content.py": "http/test_job_page.py",
    "models.py": "stores/test_database.py",
    "push/breaker.py": "test_logs.py",
    "push/layer.py": "push/test_broadcaster.py",
    "push/messages.py": "push/test_broadcaster.py",
    "push/receivers.py": "push/test_broadcaster.py",
    "queues/arq": "queues/test_arq.py",
    "queues/celery": "queues/test_celery.py",
    "queues/dramatiq": "queues/test_dramatiq.py",
    "queues/rq": "queues/test_rq.py",
    "queues/huey": "queues/test_huey.py",
    "queues/saq": "queues/test_saq.py",
    "queues/taskiq": "queues/test_taskiq.py",
    "queues/classes.py": "queues/test_base.py",
    "queues/django_q": "queues/django_q/test_sending.py",
    "queues/django_tasks": "queues/test_django_tasks.py",
    "queues/results.py": "api/test_shortcuts.py",
    "queues/tracker.py": "queues/test_port.py",
    "queues/traits.py": "queues/test_port.py",
    "stores/base.py": "stores/test_contract.py",
    "stores/redis_keys.py": "stores/test_redis.py",
    "stores/sql.py": "stores/test_database.py",
    "stores/sqlite": "stores/test_sqlite.py",
    "websocket/namespace.py": "acceptance/test_tenants.py",
    "testing/queues": "queues/suite/test_celery.py",
    "testing/queues/project": "queues/suite/test_celery.py",
    "tracking": "tracking/test_tracking.py",
    "tracking/rules.py": "access/test_permissions.py",
    "writer": "writer/test_writer.py",
}
"""Modules and folders whose test is not named after them."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """One name that a module imports."""

    importer: str
    target: str
    line: int
    is_deferred: bool
    is_excused: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def module_of(file: Path) -> str:
    """`stores.redis`, or `stores` for the `__init__` of a folder; the package's own is `__init__`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Everything the module imports, wherever it does so."""
    lines = FILES[module].read_text().splitlines()
    return tuple(
        Import(
            importer=module,
            target=target,
            line=node.lineno,
            is_deferred=is_deferred,
            is_excused="PLC0415 - " in lines[node.lineno - 1],
        )
        for node, is_deferred in import_nodes(tree_of(module))
        for target in targets_of(node)
    )


def import_nodes(node: ast.AST, *, is_deferred: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, is_deferred
        inside = is_deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from import_nodes(child, is_deferred=inside)


def targets_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    if node.module == "__future__":
        return []
    return [f"{node.module}.{alias.name}" for alias in node.names]


def own_module(target: str) -> str | None:
    """The module of this package that is imported; None for a third party's."""
    if target.partition(".")[0] != NAME:
        return None
    rest = target.removeprefix(f"{NAME}.")
    while rest and rest not in FILES:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def room_of(module: str) -> str:
    return module.partition(".")[0]


def every_import() -> list[Import]:
    return [found for module in FILES for found in imports_of(module)]


@cache
def own_imports(module: str) -> frozenset[str]:
    """The modules of this package that a module imports, wherever and for whatever it does."""
    targets = (own_module(found.target) for found in imports_of(module))
    return frozenset(target for target in targets if target is not None and target != module)


def longest_chains(arrows: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
    """For each node the longest way down from it. Raises CycleError where arrows run in a circle."""
    chains: dict[str, tuple[str, ...]] = {}
    for node in TopologicalSorter(arrows).static_order():
        below = max((chains[target] for target in arrows.get(node, ())), key=len, default=())
        chains[node] = (node, *below)
    return chains


# Direction


def test_every_module_has_a_room():
    assert {room_of(module) for module in FILES} == set(FLOOR)


def test_a_room_imports_only_from_rooms_below_it():
    wrong = [
        str(found)
        for found in every_import()
        if (module := own_module(found.target)) is not None
        and room_of(module) != room_of(found.importer)
        and FLOOR[room_of(module)] >= FLOOR[room_of(found.importer)]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle(record_property):
    """Prints the house: `pytest tests/test_architecture.py -k circle -s`."""
    files = longest_chains({module: own_imports(module) for module in FILES})
    arrows = {(room_of(module), room_of(target)) for module in FILES for target in own_imports(module)}
    arrows = {(room, target) for room, target in arrows if room != target}
    rooms = longest_chains({room: {target for start, target in arrows if start == room} for room in FLOOR})
    longest = max(rooms.values(), key=len)
    told = f"{len(FLOOR)} rooms and doors on {len(longest)} floors, {len(arrows)} arrows"
    sys.stdout.write(f"\n{told}; longest chain of rooms: {' → '.join(longest)}\n")
    sys.stdout.write(f"longest chain of files: {' → '.join(max(files.values(), key=len))}\n")
    record_property("house", told)


def test_only_the_doors_import_inside_of_functions():
    inside = {found.importer for found in every_import() if found.is_deferred and own_module(found.target) is not None}
    assert inside == set(DEFERRED)


def test_an_import_inside_a_function_says_why_it_is_there():
    unexplained = [str(found) for found in every_import() if found.is_deferred and not found.is_excused]
    assert unexplained == []


def test_no_module_imports_from_the_package_itself():
    """It would find names there that are made for users, and load them through a detour."""
    detours = [str(found) for found in every_import() if own_module(found.target) == "__init__"]
    assert detours == []


def test_the_core_knows_nothing_but_the_standard_library():
    foreign = [
        str(found)
        for module in PURE
        for found in imports_of(module)
        if found.top not in sys.stdlib_module_names and own_module(found.target) not in PURE
    ]
    assert foreign == []


@pytest.mark.parametrize("party", OWNERS)
def test_a_third_party_is_known_to_its_own_modules_alone(party):
    strangers = [str(found) for found in every_import() if found.top == party and not belongs(found, OWNERS[party])]
    assert strangers == []


def belongs(found: Import, owners: set[str]) -> bool:
    return any(f"{found.importer}.".startswith(f"{owner}.") for owner in owners)


# Settings


def names_of_settings(module: str) -> set[str]:
    """What the module calls Django's settings and ours."""
    nodes = [node for node, _ in import_nodes(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name
        for node in nodes
        if node.module in ("django.conf", f"{NAME}.conf")
        for alias in node.names
        if alias.name in ("settings", "leases", "is_strict")
    }


def read_at_import(node: ast.AST, names: set[str]) -> Iterator[int]:
    """The lines outside of function bodies that use one of these names."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                now = [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]
                yield from read_at_import(ast.Module(body=now, type_ignores=[]), names)
            case ast.Lambda():
                continue
            case ast.Name(id=name) if name in names:
                yield child.lineno
            case _:
                yield from read_at_import(child, names)


@pytest.mark.parametrize("module", FILES)
def test_no_module_reads_settings_when_it_is_imported(module):
    assert list(read_at_import(tree_of(module), names_of_settings(module))) == []


@pytest.mark.parametrize("module", [NAME, f"{NAME}.routing"])
def test_what_asgi_and_settings_files_import_needs_no_django_yet(module):
    code = f"import {module}, sys; assert not any(name.startswith('{NAME}.models') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, check=True)


def test_a_set_up_django_has_loaded_what_it_must_and_no_queue():
    code = f"import django, sys; django.setup(); print(*(name for name in sys.modules if name.startswith('{NAME}')))"
    code += f"; assert not {set(OWNERS) - {'django_tenants'}} & set(sys.modules)"
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=settings, check=True, capture_output=True, text=True)
    loaded = {name.removeprefix(f"{NAME}.") for name in run.stdout.split()}
    doors = {"apps", "models", "admin", "admin_list", "access", "access.signals"}
    assert loaded == {NAME, *doors, "exceptions", "keys", "loading"}


# The public face


def test_the_package_offers_no_name_beyond_its_api():
    assert set(immortus_channels.__all__) - API == set()


@pytest.mark.parametrize("name", immortus_channels.__all__)
def test_every_offered_name_loads_on_first_use(name):
    assert getattr(immortus_channels, name) is not None


def test_type_checkers_see_the_same_names():
    seen = {alias.name for node, _ in import_nodes(tree_of("__init__")) for alias in node.names if at_types(node)}
    assert seen == set(immortus_channels.__all__) > set(immortus_channels._HOMES)


def at_types(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAME)


def test_the_offered_names_are_sorted():
    assert immortus_channels.__all__ == sorted(immortus_channels.__all__)


# Tests


def test_every_module_has_its_test():
    missing = [
        f"tests/{expected}"
        for file in FILES.values()
        if file.name != "__init__.py" and file.parent.name != "migrations"
        and not (ROOT / "tests" / (expected := mirrored_in_tests(file))).exists()
    ]  # fmt: skip
    assert missing == []


def mirrored_in_tests(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    folder = relative.parent.as_posix().removesuffix("commands").strip("./")
    mirrored = f"{folder}/test_{relative.name}".lstrip("/")
    return TESTED_BY.get(relative.as_posix()) or TESTED_BY.get(relative.parent.as_posix()) or mirrored


def test_the_name_of_a_test_has_at_most_70_characters():
    assert [name for name in names_of_tests() if len(name) > 70] == []


def names_of_tests() -> Iterator[str]:
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name
