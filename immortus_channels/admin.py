"""The database store's jobs in Django's admin: to view, to cancel and, once they are over, to delete.

No page becomes slower with the number of jobs: none counts them all or queries all their distinct values.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import display_for_value
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q
from django.db.models.functions import Left
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from immortus_channels import admin_list
from immortus_channels.admin_list import Records, job_of
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.loading import Later
from immortus_channels.models import JobRecord

if TYPE_CHECKING:
    from immortus_channels import keys, stores, tracking
    from immortus_channels.access import permissions
    from immortus_channels.api import links
    from immortus_channels.jobs import lifecycle, namespaces
    from immortus_channels.stores import database
else:
    stores = Later("immortus_channels.stores")
    tracking = Later("immortus_channels.tracking")
    permissions = Later("immortus_channels.access.permissions")
    links = Later("immortus_channels.api.links")
    keys = Later("immortus_channels.keys")
    lifecycle = Later("immortus_channels.jobs.lifecycle")
    namespaces = Later("immortus_channels.jobs.namespaces")
    database = Later("immortus_channels.stores.database")


@admin.register(JobRecord)
class JobAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # not generic at run time
    """The jobs on record. Cancelling takes the permission to change jobs, deleting the one to delete them."""

    list_display = ("job_id", "job_class", "state", "owner", "percentage", "enqueued_at", "started_at", "ended_at")
    list_filter = ("state", admin_list.JobClassFilter)
    search_fields = ("job_id",)
    search_help_text = _("the whole id of a job")
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = admin_list.BoundedPaginator
    actions = ("cancel", "delete_selected")
    fields = readonly_fields = (*list_display, "document")

    # What is shown

    def get_queryset(self, request: HttpRequest) -> Records:
        """Return the viewer's jobs in the database that the store keeps them in."""
        records = super().get_queryset(request).using(_database())
        namespace = admin_list.limit_of(request)
        if namespace is None:
            return records
        if not namespace:
            return records.exclude(job_id__contains=keys.SEPARATOR)
        begin = keys.key_of(namespace, "")
        # SQLite's LIKE takes "A" for "a"; PostgreSQL's index of ids is for it.
        exact = records.alias(begin=Left("job_id", len(begin))).filter(begin=begin)
        found: Records = exact.filter(job_id__startswith=begin)
        return found

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the columns, where there are namespaces with ids and owners as each of them knows them."""
        return self._columns(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: JobRecord | None = None) -> Any:
        """Return what the page of a job shows, likewise."""
        return self._columns(request, self.fields)

    get_readonly_fields = get_fields

    def _columns(self, request: HttpRequest, names: tuple[str, ...]) -> tuple[str, ...]:
        if not namespaces.are_used():
            return names
        bare = {"job_id": "id_there", "owner": "owner_there"}
        shown = tuple(bare.get(name, name) for name in names)
        return (*shown, "namespace") if admin_list.limit_of(request) is None else shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list class that reads as viewers read."""
        return admin_list.CurrentList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only the filters offered: counts by others would reveal what hidden jobs contain."""
        return lookup.partition("__")[0] in ("state", "job_class")

    def get_search_results(self, request: HttpRequest, queryset: Records, search_term: str) -> tuple[Records, bool]:
        """Return the job of exactly this id, which may hold spaces and quotes."""
        if not search_term:
            return queryset, False
        terms = {search_term, search_term.strip()}
        of_any = Q(*(("pk__endswith", f"{keys.SEPARATOR}{term}") for term in terms), _connector=Q.OR)
        wanted = Q(pk__in={namespaces.here(term) for term in terms})
        return queryset.filter(wanted | of_any if namespaces.are_used() else wanted), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> JobRecord | None:
        """Return the job in its present state; None also if this viewer may not see it."""
        admin_list.bring_up_to_date(request, [object_id])
        record = super().get_object(request, object_id, from_field)
        return record if record is not None and admin_list.may_see(request, record) else None

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Add the job for a live element, if the URLs that it uses are mounted."""
        record = kwargs.get("obj")
        if record is not None and links.mount() is not None and admin_list.is_here(request, record):
            words: Any = self.opts.get_field("state")
            context |= {"job": job_of(record).shown, "words": dict(words.flatchoices)}
        return super().render_change_form(request, context, *args, **kwargs)

    # As text, because the page of one job shows None as such, and times in UTC.

    @admin.display(description=_("job id"))
    def id_there(self, record: JobRecord) -> str:
        """Return the job's id, as its namespace knows it."""
        return keys.name_in(record.job_id)

    @admin.display(description=_("owner"))
    def owner_there(self, record: JobRecord) -> str | None:
        """Return the owner's key, as the job's namespace knows it."""
        return job_of(record).shown.owner

    @admin.display(description=_("namespace"))
    def namespace(self, record: JobRecord) -> str:
        """Return the namespace."""
        return keys.namespace_of(record.job_id)

    @admin.display(description=_("percentage"))
    def percentage(self, record: JobRecord) -> str:
        """Return how far the job has come."""
        share = job_of(record).document["percentage"]
        return "" if share is None else f"{share} %"

    @admin.display(description=_("enqueued at"))
    def enqueued_at(self, record: JobRecord) -> str:
        """Return when the job was handed to its queue."""
        return self._time(job_of(record).enqueued_at)

    @admin.display(description=_("started at"))
    def started_at(self, record: JobRecord) -> str:
        """Return when the present attempt began."""
        return self._time(job_of(record).started_at)

    @admin.display(description=_("finished at"))
    def ended_at(self, record: JobRecord) -> str:
        """Return when the job ended."""
        return self._time(record.finished_at)

    def _time(self, at: int | None) -> str:
        moment = None if at is None else datetime.fromtimestamp(at / lifecycle.SECOND, UTC)
        return str(display_for_value(moment, self.get_empty_value_display()))

    @admin.display(description=_("document"))
    def document(self, record: JobRecord) -> SafeString:
        """Return the job as browsers see it."""
        return format_html("<pre>{}</pre>", json.dumps(job_of(record).document, indent=2, ensure_ascii=False))

    # What may be done

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Hide the module unless jobs are kept in a database: an empty list would look as if there were none."""
        return _database() is not None and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: JobRecord | None = None) -> bool:
        """Refuse unless jobs are kept in a database."""
        return _database() is not None and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: jobs are made by sending them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: JobRecord | None = None) -> bool:
        """Refuse: only its queue and its worker change a job."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: JobRecord | None = None) -> bool:
        """Allow users with the permission, for ended jobs that they see: workers would write others again."""
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or (obj.state in admin_list.over() and admin_list.may_see(request, obj)))

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Allow users who may change jobs, by Django's permissions."""
        return super().has_change_permission(request)

    def delete_model(self, request: HttpRequest, obj: JobRecord) -> None:
        """Delete the job if it is still over."""
        self.delete_queryset(request, self.get_queryset(request).filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: Records) -> None:
        """Delete those that are still over."""
        queryset.filter(state__in=admin_list.over()).delete()

    @admin.action(description=_("Delete selected jobs"), permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: Records) -> HttpResponseBase | None:
        """Delete the selected jobs that are over, after Django's question; a message counts the others."""
        records = admin_list.visible_to(request, queryset)
        over = [record.pk for record in records if record.state in admin_list.over()]
        left = len(records) - len(over)
        if left:
            message = ngettext("%d job stays: it is not over.", "%d jobs stay: they are not over.", left) % left
            self.message_user(request, message, messages.WARNING)
        if not over:
            return None
        return cast("HttpResponseBase | None", delete_selected(self, request, queryset.filter(pk__in=over)))

    @admin.action(description=_("Cancel selected jobs"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: Records) -> HttpResponseBase | None:
        """Ask for the cancellation of each selected job that its strategy lets this user see and cancel."""
        asked = 0
        records = admin_list.visible_to(request, queryset)
        try:
            for record in records:
                asked += self._cancel(request, record)
        except StoreUnavailable as error:
            self.message_user(request, str(error), messages.ERROR)
        if asked:
            message = ngettext("%d job was asked to stop.", "%d jobs were asked to stop.", asked) % asked
            self.message_user(request, message, messages.SUCCESS)
        refused = len(records) - asked
        if refused:
            message = ngettext(
                "%d job was not asked to stop: it is over or cannot be cancelled.",
                "%d jobs were not asked to stop: they are over or cannot be cancelled.",
                refused,
            )
            self.message_user(request, message % refused, messages.WARNING)
        return None

    def _cancel(self, request: HttpRequest, record: JobRecord) -> bool:
        job = job_of(record)
        is_theirs = not admin_list.is_here(request, record)
        if is_theirs and (job.is_over or job.cancel == "never"):
            return False
        if not (is_theirs or permissions.is_cancellable(request.user, job)):
            return False
        after = tracking.cancel(record.pk)
        if after is None or not after.cancel_requested:
            return False
        self.log_change(request, record, [{"changed": {"fields": ["cancel_requested"]}}])
        return True


def _database() -> str | None:
    """Return the alias of the database that keeps jobs; None if another kind of store does."""
    store = stores.get_store()
    return store.using if isinstance(store, database.DatabaseStore) else None
