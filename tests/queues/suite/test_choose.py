"""Which runs a change asks for."""

from __future__ import annotations

import pytest

from tests.queues.suite import choose

NAMES = ("test_celery.TestCelery", "test_huey.TestHuey", "test_rq.TestRQ")


@pytest.fixture
def kept():
    return {name: {"of": choose.digests(name.partition(".")[0])} for name in NAMES}


def test_without_a_change_one_run_is_repeated_each_day_in_turn(kept):
    assert [choose.chosen(kept, day) for day in range(3)] == [([name], []) for name in NAMES]


def test_a_queue_whose_adapter_has_changed_is_run_as_a_whole(kept):
    kept["test_rq.TestRQ"]["of"]["own"] = "another"
    assert choose.chosen(kept, 0) == (["test_rq.TestRQ", "test_celery.TestCelery"], [])


def test_where_the_port_has_changed_all_are_run_in_the_short_form(kept):
    for run in kept.values():
        run["of"]["shared"] = "another"
    assert choose.chosen(kept, 1) == (["test_huey.TestHuey"], ["test_celery.TestCelery", "test_rq.TestRQ"])


def test_each_queue_depends_on_files_of_its_own_and_on_shared_ones():
    of = {name: choose.digests(name) for name in ("test_celery", "test_huey", "test_rq")}
    assert len({each["own"] for each in of.values()}) == 3
    assert len({each["shared"] for each in of.values()}) == 1


def test_a_run_whose_packages_are_missing_is_left_out():
    assert choose.is_installed({"packages": {"3.13 / 6.1": {"pytest": "8"}}})
    assert not choose.is_installed({"packages": {"3.13 / 6.1": {"no-such-package": "8"}}})
    assert choose.is_installed({"packages": {"3.13 / 6.1": {"pytest": "8"}, "3.11 / 5.2": {"no-such-package": "8"}}})


def test_pytest_is_told_the_classes():
    assert list(choose.arguments(NAMES[:1])) == ["tests/queues/suite/test_celery.py::TestCelery"]
