"""Which calls raise what, in production and where a developer is told of mistakes: a table of the Python reference."""

from __future__ import annotations

import pytest

from immortus_channels import JobRepository, get_job
from tests.pages_of_docs import page

LARGE, WIDE = "x" * 40_000, "x" * 200_000
CALLS = {
    "a number": (lambda job: job.update(current=-1), None, "InvalidValue"),
    "a total": (lambda job: list(job.track([], total=-1)), None, "InvalidValue"),
    "a message": (lambda job: job.update(message=object()), None, "TypeError"),
    "a loop's message": (lambda job: list(job.track([1], message=object())), None, "TypeError"),
    "meta": (lambda job: job.set_meta(a=object()), None, "InvalidValue"),
    "reserved meta": (lambda job: job.set_meta(state=1), None, "ReservedMetaKey"),
    "large meta": (lambda job: job.set_meta(a=LARGE), None, "DocumentTooLarge"),
    "a metric": (lambda job: job.set_progress_metric("a", object()), None, "InvalidValue"),
    "a result": (lambda job: job.set_result(object()), None, "InvalidValue"),
    "a large result": (lambda job: job.set_result(LARGE), None, "DocumentTooLarge"),
    "data": (lambda job: job.data.__setitem__("a", object()), "InvalidValue", "InvalidValue"),
    "large data": (lambda job: job.data.__setitem__("a", WIDE), None, "DocumentTooLarge"),
    "an end": (lambda job: job.fail(object(), object()), None, None),
    "an id": (lambda _: JobRepository().create(id=""), "InvalidValue", "InvalidValue"),
    "an id's type": (lambda _: JobRepository().create(id=1.5), "TypeError", "TypeError"),
    "made with data": (lambda _: JobRepository().create(a=object()), "InvalidValue", "InvalidValue"),
    "made with large data": (lambda _: JobRepository().create(a=WIDE), None, "DocumentTooLarge"),
    "made with a handler": (lambda _: JobRepository().create(handler="nope"), None, "HandlerNotFound"),
    "made twice": (lambda job: JobRepository().create(id=job.id), "JobExists", "JobExists"),
    "looked for": (lambda _: get_job("nope"), "JobNotFound", "JobNotFound"),
}


@pytest.mark.parametrize("where", ["its own run", "elsewhere"])
@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize(("call", "in_production", "in_tests"), CALLS.values(), ids=CALLS)
def test_a_mistake_raises_what_the_reference_says(settings, call, in_production, in_tests, is_strict, where):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_INLINE = is_strict
    with JobRepository().create().running() as job:
        raised = None
        try:
            call(job if where == "its own run" else get_job(job.id))
        except Exception as error:  # noqa: BLE001 - whatever it is
            raised = type(error).__name__
    assert raised == (in_tests if is_strict else in_production)


def test_the_reference_names_what_raises_in_each_column():
    rows = [row for row in page("reference/python.md").rows if len(row) == 3]
    table = rows[[row[0] for row in rows].index("`update()`, `track()`") :]
    said = [" ".join(column) for column in zip(*table, strict=True)][1:]
    for _, in_production, in_tests in CALLS.values():
        assert in_production is None or f"`{in_production}`" in said[0]
        assert in_tests in (None, in_production) or f"`{in_tests}`" in said[1]
