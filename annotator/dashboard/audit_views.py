"""The audit trail of a project as its admins read it."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from annotator import access
from annotator.http import Request
from annotator.models import Annotation, Assignment, AuditEvent, Dispute, Membership

PER_PAGE = 50

# Where an event's object can be looked at, by the name of its table: a page of its own, that of its trajectory, or one
# of the project.
_PAGES = {"job": "job-detail", "release": "release-detail", "review": "review-detail"}
_IN_TRAJECTORY: dict[str, type[Annotation] | type[Assignment] | type[Dispute]] = {
    "annotation": Annotation,
    "assignment": Assignment,
    "dispute": Dispute,
}
_OF_PROJECT = {
    "guideline": "guideline",
    "invitation": "member-list",
    "membership": "member-list",
    "project": "project-settings",
}

# What the filters suggest.
OBJECTS = sorted([*_PAGES, *_IN_TRAJECTORY, *_OF_PROJECT, "trajectory"])


class AuditForm(forms.Form):
    """Which events to show; every field may be empty."""

    who = forms.CharField(label="Username", required=False, max_length=150)
    action = forms.CharField(label="Action", required=False, max_length=60, widget=forms.TextInput({"list": "actions"}))
    object_type = forms.CharField(
        label="Object", required=False, max_length=40, widget=forms.TextInput({"list": "objects"})
    )
    object_id = forms.IntegerField(label="Number of it", required=False, min_value=0, max_value=2**63 - 1)
    since = forms.DateField(label="From (UTC)", required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label="To (UTC)", required=False, widget=forms.DateInput({"type": "date"}))
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)

    def conditions(self) -> dict[str, Any]:
        """The valid form as conditions of a query."""
        data = self.cleaned_data
        conditions: dict[str, Any] = {
            "username": data["who"],
            "action__startswith": data["action"],
            "object_type": data["object_type"].lower(),
            "object_id": data["object_id"],
            "id__lt": data["before"],
        }
        if data["since"]:
            conditions["at__gte"] = datetime.combine(data["since"], time.min, UTC)
        if data["until"]:
            conditions["at__lt"] = datetime.combine(data["until"], time.min, UTC) + timedelta(days=1)
        return {name: value for name, value in conditions.items() if value not in ("", None)}


@dataclass
class Row:
    """One event, and where its object can be looked at."""

    event: AuditEvent
    url: str | None
    details: list[tuple[str, Any]]


@require_GET
def audit_list(request: Request, slug: str) -> HttpResponse:
    """The project's events, newest first; `before` goes on after the last one that was shown, so nothing is counted."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    form = AuditForm(request.GET, label_suffix="")
    rows: list[Row] = []
    older = None
    if form.is_valid():
        events = AuditEvent.objects.filter(project=membership.project, **form.conditions()).order_by("-id")
        found = list(events[: PER_PAGE + 1])
        rows = _rows(found[:PER_PAGE], slug)
        older = found[PER_PAGE - 1].pk if len(found) > PER_PAGE else None
    context = {
        "membership": membership,
        "section": "audit",
        "form": form,
        "fields": form.visible_fields(),
        "rows": rows,
        "older": older,
        "objects": OBJECTS,
        "is_first": not form.is_valid() or not form.cleaned_data["before"],
    }
    return render(request, "dashboard/audit.html", context, status=200 if form.is_valid() else 422)


def _rows(events: list[AuditEvent], slug: str) -> list[Row]:
    trajectories = {("trajectory", event.object_id): event.object_id for event in events}
    for name, model in _IN_TRAJECTORY.items():
        ids = {event.object_id for event in events if event.object_type == name}
        if ids:
            found = model.objects.filter(pk__in=ids).values_list("pk", "trajectory_id")
            trajectories |= {(name, pk): trajectory_id for pk, trajectory_id in found}

    def url(event: AuditEvent) -> str | None:
        name, pk = event.object_type, event.object_id
        if trajectory_id := trajectories.get((name, pk)):
            return reverse("trajectory-detail", args=[slug, trajectory_id])
        if name in _OF_PROJECT:
            return reverse(_OF_PROJECT[name], args=[slug])
        return reverse(_PAGES[name], args=[pk]) if name in _PAGES else None

    return [Row(event, url(event), list(event.data.items())) for event in events]
