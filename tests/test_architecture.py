"""Who may import whom, which module knows which third party, and that every module has its test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import immortus_channels
from immortus_channels import exceptions

ROOT = Path(__file__).parent.parent
NAME = "immortus_channels"
PACKAGE = ROOT / NAME

LEVELS = (
    "exceptions jobs events lifecycle ids questions trouble metrics decoding buckets green",
    (
        "conf models migrations owners foreign marking encoding values verdicts lookup addresses limits outside "
        "advisories peers versions afterthoughts"
    ),
    "stores queues layer_connections layer_calls layer_loop broadcast progress revocation",
    (
        "strategies tracking writer access fetching handles running repository states handlers usage turns rights "
        "forgetting"
    ),
    (
        "hub frames consumers middleware views monitoring pages shortcuts tokens callers csrf "
        "templatetags management admin checks tasks"
    ),
    "urls routing apps celery __init__",
)
"""Lower never imports higher. A folder stands for all that is in it."""
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names.split()} | {"testing": 3}

PURE = {"jobs", "events", "lifecycle", "decoding", "buckets"}
"""The standard library and each other, nothing else."""

OWNERS = {
    "channels": {"broadcast", "hub", "consumers", "routing", "testing.layers"},
    "celery": {"queues.celery", "celery", "tasks"},
    "kombu": {"queues.celery", "celery"},
    "billiard": {"queues.celery", "celery"},
    "redis": {"stores.redis_connection"},
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
    "checks": "test_checks.py",
    "events.py": "test_lifecycle.py",
    "models.py": "stores/test_database.py",
    "stores/base.py": "stores/test_contract.py",
    "stores/redis_layout.py": "stores/test_redis.py",
    "stores/sql.py": "stores/test_database.py",
    "stores/sqlite": "stores/test_sqlite.py",
    "queues/celery": "queues/test_celery.py",
    "tracking": "test_tracking.py",
    "writer": "test_writer.py",
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


def level_of(module: str) -> int:
    return LEVEL[module.partition(".")[0]]


def every_import() -> list[Import]:
    return [found for module in FILES for found in imports_of(module)]


# Direction


def test_every_module_has_a_level():
    assert {module for module in FILES if module.partition(".")[0] not in LEVEL} == set()


def test_lower_never_imports_higher():
    upward = [
        str(found)
        for found in every_import()
        if (module := own_module(found.target)) is not None
        and level_of(module) > level_of(found.importer)
        and not (found.is_deferred and found.is_excused)
    ]
    assert upward == []


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


# The public face


def test_the_package_offers_no_name_beyond_its_api():
    assert set(immortus_channels.__all__) - API == set()


@pytest.mark.parametrize("name", immortus_channels.__all__)
def test_every_offered_name_loads_on_first_use(name):
    assert getattr(immortus_channels, name) is not None


def test_type_checkers_see_the_same_names():
    seen = {alias.name for node, _ in import_nodes(tree_of("__init__")) for alias in node.names if at_types(node)}
    assert seen == set(immortus_channels.__all__) == set(immortus_channels._HOMES)


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
