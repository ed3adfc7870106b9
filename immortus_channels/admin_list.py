"""The list of jobs in Django's admin: as its viewer may see them, and no slower with their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.loading import Later
from immortus_channels.models import ALL_NAMESPACES, JobRecord

if TYPE_CHECKING:
    from immortus_channels import keys, tracking
    from immortus_channels.access import permissions
    from immortus_channels.jobs import job as jobs
    from immortus_channels.jobs import namespaces
    from immortus_channels.stores import base
else:
    tracking = Later("immortus_channels.tracking")
    permissions = Later("immortus_channels.access.permissions")
    jobs = Later("immortus_channels.jobs.job")
    keys = Later("immortus_channels.keys")
    namespaces = Later("immortus_channels.jobs.namespaces")
    base = Later("immortus_channels.stores.base")

Records = QuerySet[JobRecord]


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # not generic at run time
    """Pages through the first `BOUND` jobs, and counts no further; older ones are found by filter or id."""

    BOUND = 10_000

    @cached_property
    def count(self) -> int:
        """How many jobs there are to page through."""
        return cast("Records", self.object_list).order_by()[: self.BOUND].count()


class CurrentList(ChangeList):
    """A page of jobs that its viewer may see, in their present state: overdue ones are marked first.

    The jobs of other pages are counted without checking permissions for each.
    """

    def get_results(self, request: HttpRequest) -> None:
        """Read the page's jobs as any viewer does, and leave out those that this viewer may not see."""
        super().get_results(request)
        bring_up_to_date(request, self.result_list.values_list("pk", flat=True))
        records: list[JobRecord] = list(self.result_list)
        shown = visible_to(request, records)
        self.result_list: Any = shown
        self.result_count -= len(records) - len(shown)


class JobClassFilter(admin.SimpleListFilter):
    """By job class, found without reading every row: each step asks an index for the next name."""

    title = _("job class")
    parameter_name = "job_class"
    LIMIT = 100

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the classes that jobs have."""
        return [(name, name) for name in self._names(model_admin.get_queryset(request))]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        """Return the jobs of the chosen class."""
        return queryset if self.value() is None else queryset.filter(job_class=self.value())

    def _names(self, records: Records) -> Iterator[str]:
        names = records.order_by("job_class").values_list("job_class", flat=True)
        name = names.first()
        for _number in range(self.LIMIT):
            if name is None:
                return
            yield name
            name = names.filter(job_class__gt=name).first()


def bring_up_to_date(request: HttpRequest, job_ids: Iterable[str]) -> None:
    """Bring these jobs' records up to date, as reading them anywhere does."""
    try:
        tracking.read(list(job_ids))
    except StoreUnavailable as error:
        messages.warning(request, _("This may be out of date: %s") % error)


def visible_to(request: HttpRequest, records: Iterable[JobRecord]) -> list[JobRecord]:
    """Return the jobs that this viewer may see; the others look like unknown ones."""
    return [record for record in records if may_see(request, record)]


def may_see(request: HttpRequest, record: JobRecord) -> bool:
    """Return whether the job's strategy shows it to this viewer, here as anywhere; if it cannot answer, it does not.

    The strategy of another namespace's job is not asked about a user that this namespace does not have.
    """
    if not is_here(request, record):
        return limit_of(request) is None
    try:
        return permissions.may_see(request.user, job_of(record))
    except StoreUnavailable as error:
        messages.warning(request, str(error))
        return False


def limit_of(request: HttpRequest) -> str | None:
    """Return the namespace whose jobs the viewer works with; None for all, by a permission of users of "" alone."""
    if not namespaces.are_used():
        return None
    namespace = namespaces.of(request)
    return None if not namespace and request.user.has_perm(f"immortus_channels.{ALL_NAMESPACES}") else namespace


def is_here(request: HttpRequest, record: JobRecord) -> bool:
    """Return whether the job is in the viewer's own namespace."""
    return keys.namespace_of(record.job_id) == namespaces.of(request)


def job_of(record: JobRecord) -> jobs.Job:
    """Return the job in the record; for a record that cannot be read here, one for staff with what the columns say."""
    read = {record.job_id: partial(jobs.Job.from_record, record.record)}
    unreadable = jobs.Job(job_id=record.job_id, job_class=record.job_class, owner=record.owner, staff_only=True)
    return base.reading_of(0, read.items()).jobs.get(record.job_id, unreadable)


def over() -> list[str]:
    """Return the states of jobs that are over."""
    return [state for state in jobs.State if state.is_over]
