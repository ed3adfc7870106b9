"""What the words of `make` promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest

from tests import order
from tests.pages_of_docs import ROOT
from tests.servers import need

MAKEFILE = (ROOT / "Makefile").read_text()
GOALS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1).split()


@cache
def make(*arguments: str) -> str:
    program = need(shutil.which("make"), "make", "on Debian: apt install make")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run([program, *arguments], cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


def pytest_of(goal: str, *variables: str) -> str:
    """The first command by which this goal runs pytest."""
    return next(line for line in make("--dry-run", goal, *variables).splitlines() if " -m pytest" in line)


def test_make_alone_prints_its_help():
    assert make() == make("help")


@pytest.mark.parametrize("goal", GOALS)
def test_the_help_names_each_goal(goal):
    assert re.search(rf"\bmake (\w+ )*{goal}\b", make("help"))


@pytest.mark.parametrize(
    ("variables", "extras"),
    [
        ((), "celery,daphne,example"),
        (("QUEUE=django-q2",), "django_q2,daphne,example"),
        (("QUEUE=rq", "REDIS_URL=redis://127.0.0.1/0"), "rq,daphne,example,redis"),
    ],
)
def test_the_demo_has_the_extra_of_its_queue_installed(variables, extras):
    assert f"'.[{extras}]'" in make("--dry-run", "demo", "VENV=build/none", *variables)


def test_make_test_leaves_out_the_slow_tests_and_measures_coverage():
    assert '-m "not slow"' in pytest_of("test")
    assert "--hypothesis-profile quick" in pytest_of("test")
    assert "--cov" in pytest_of("test")


def test_what_begins_first_is_there():
    assert [path for path in (*order.LONGEST, *order.PATIENT) if not (ROOT / path).exists()] == []


def test_make_test_all_leaves_out_nothing():
    assert "not slow" not in pytest_of("test-all")
    assert "--hypothesis-profile" not in pytest_of("test-all")
    assert "--cov" in pytest_of("test-all")


def test_a_test_that_is_asked_for_by_name_runs_though_it_is_slow():
    assert pytest_of("test", "ARGS=tests/test_makefile.py").endswith("pytest tests/test_makefile.py")


def test_a_quick_run_says_how_many_tests_it_left_out():
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "tests/acceptance/test_faults.py")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert re.search(r"^\d+ slow tests were left out: `make test-all` runs them too\.$", done.stdout, re.MULTILINE)
