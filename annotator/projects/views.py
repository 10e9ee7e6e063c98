"""Members, invitations, the guideline and the settings of a project: the pages of its admins."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.timezone import now
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotator import access
from annotator.adjudication.actions import return_to_author
from annotator.errors import InvalidInput, InvalidSettings, ReviewHeld
from annotator.http import Request, number_of, refuse
from annotator.models import Guideline, Invitation, Membership
from annotator.projects import actions, invitations, reading
from annotator.projects.forms import (
    TAXONOMY_LABELS,
    GuidelineForm,
    InvitationForm,
    ReturnForm,
    RoleForm,
    SignUpForm,
    settings_forms,
)
from annotator.projects.taxonomies import TAXONOMIES

Role = Membership.Role

PER_PAGE = 50
MOST_INVITATIONS = 100


def _posted(request: HttpRequest) -> QueryDict | None:
    """What a form is bound to; an empty POST is a form that was sent empty."""
    return request.POST if request.method == "POST" else None


@never_cache
@require_http_methods(["GET", "POST"])
def member_list(request: Request, slug: str) -> HttpResponse:
    """Who is in the project; a POST makes an invitation and shows its link in the answer, this once."""
    membership = access.get_membership(request.user, slug, Role.ADMIN)
    project = membership.project
    form = InvitationForm(_posted(request), label_suffix="")
    link, status = None, 200
    if request.method == "POST":
        if form.is_valid():
            role, note = Role(form.cleaned_data["role"]), form.cleaned_data["note"]
            _, secret = invitations.invite(project, role, note, user=request.user)
            link = request.build_absolute_uri(reverse("invitation", args=[secret]))
            form = InvitationForm(label_suffix="")
        else:
            status = 422
    made = Invitation.objects.filter(project=project).with_inviter()
    may_be_open = Q(used_at=None, revoked_at=None, expires_at__gt=now())
    context = {
        "membership": membership,
        "section": "members",
        "members": project.memberships.select_related("user").order_by("user__username"),
        "roles": Role.choices,
        "form": form,
        "link": link,
        "days": invitations.VALID_FOR.days,
        "invitations": made.annotate(may_be_open=may_be_open).order_by("-may_be_open", "-id")[:MOST_INVITATIONS],
    }
    return render(request, "projects/members.html", context, status=status)


@require_POST
def member_change(request: Request, slug: str, pk: int) -> HttpResponse:
    member = _get_member(request, slug, pk)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise InvalidInput("The role was not changed. Choose one of the listed roles.", {"role": "Unknown."})
    actions.change_role(member, Role(form.cleaned_data["role"]), user=request.user)
    messages.success(request, f"{member.user.username} has the role {form.cleaned_data['role']} now.")
    return redirect("project-overview" if member.user == request.user else "member-list", slug)


@require_POST
def member_remove(request: Request, slug: str, pk: int) -> HttpResponse:
    member = _get_member(request, slug, pk)
    actions.remove_member(member, user=request.user)
    messages.success(request, f"{member.user.username} is no longer a member. Their labels stay in the project.")
    return redirect("project-list") if member.user == request.user else redirect("member-list", slug)


def _get_member(request: Request, slug: str, pk: int) -> Membership:
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    return get_object_or_404(project.memberships.select_related("user", "project"), pk=pk)


@require_POST
def invitation_revoke(request: Request, slug: str, pk: int) -> HttpResponse:
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    invitations.revoke(get_object_or_404(project.invitations, pk=pk), user=request.user)
    messages.success(request, "The link of this invitation opens nothing any more.")
    return redirect("member-list", slug)


@never_cache
@login_not_required
@require_http_methods(["GET", "POST"])
def invitation_open(request: HttpRequest, secret: str) -> HttpResponse:
    """What the link of an invitation opens; a POST joins, and makes an account for whoever is not signed in."""
    invitation = invitations.find(secret)
    user = request.user
    context: dict[str, Any] = {"invitation": invitation, "secret": secret, "form": None, "is_member": False}
    status = 200
    if user.is_authenticated:
        if request.method == "POST":
            return _joined(request, invitations.accept(invitation, user))
        context["is_member"] = invitation.project.memberships.filter(user=user).exists()
    if not context["is_member"]:
        invitations.check_open(invitation)
    if not user.is_authenticated:
        context["form"] = form = SignUpForm(_posted(request), label_suffix="")
        if request.method == "POST":
            if form.is_valid():
                try:
                    return _signed_up(request, invitation, form)
                except InvalidInput as error:
                    form.add_error("username", error.message)
            status = 422
    return render(request, "projects/invitation.html", context, status=status)


def _signed_up(request: HttpRequest, invitation: Invitation, form: SignUpForm) -> HttpResponse:
    member = invitations.sign_up(invitation, form.cleaned_data["username"], form.cleaned_data["password1"])
    login(request, member.user)
    return _joined(request, member)


def _joined(request: HttpRequest, membership: Membership) -> HttpResponse:
    project = membership.project
    messages.success(request, f"Welcome to {project.name}. You are {membership.role} here.")
    return redirect("project-overview", project.slug)


@require_http_methods(["GET", "POST"])
def guideline(request: Request, slug: str) -> HttpResponse:
    """The guideline's versions and the editor; a POST saves the next version."""
    membership = access.get_membership(request.user, slug, Role.ADMIN)
    project = membership.project
    form = GuidelineForm(_posted(request), current=project.guidelines.first())
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            based_on = _number(request.POST["based_on"]) if "based_on" in request.POST else None
            try:
                added = actions.add_guideline(project, form.cleaned_data["text"], user=request.user, based_on=based_on)
            except actions.GuidelineConflict as error:
                form.add_error(None, error.message)
                status = error.status
            else:
                messages.success(request, f"Version {added.version} is in force now.")
                return redirect("guideline", slug)
    versions = list(project.guidelines.select_related("created_by").defer("text"))
    current = versions[0] if versions else None
    counts = reading.labels_by_version(project)
    context = {
        "membership": membership,
        "section": "guideline",
        "form": form,
        "current": current,
        "versions": [(version, counts.get(version.version, 0)) for version in versions],
        "n_without": counts.get(None, 0),
        "n_older": sum(n for version, n in counts.items() if current and version != current.version),
    }
    return render(request, "projects/guideline.html", context, status=status)


@require_POST
def guideline_preview(request: Request, slug: str) -> HttpResponse:
    """The text as annotators would see it; stores nothing."""
    membership = access.get_membership(request.user, slug, Role.ADMIN)
    context = {"membership": membership, "section": "guideline", "text": request.POST.get("text", "")[:200_000]}
    template = "projects/guideline_preview.html"
    return render(request, f"{template}#preview" if request.htmx else template, context)


@require_GET
def guideline_changes(request: Request, slug: str) -> HttpResponse:
    """What changed from one version to another; by default the last change."""
    membership = access.get_membership(request.user, slug, Role.ADMIN)
    guidelines = membership.project.guidelines.all()
    versions = sorted(guidelines.values_list("version", flat=True))
    if not versions:
        raise Http404("The project has no guideline yet.")
    wanted_new, wanted_old = _number(request.GET.get("new")), _number(request.GET.get("old"))
    new = guidelines.get(version=wanted_new if wanted_new in versions else versions[-1])
    old = guidelines.get(version=wanted_old if wanted_old in versions else max(new.version - 1, versions[0]))
    context = {
        "membership": membership,
        "section": "guideline",
        "versions": versions,
        "old": old,
        "new": new,
        "lines": reading.compare(old.text, new.text),
    }
    return render(request, "projects/guideline_changes.html", context)


def _number(given: str | None) -> int:
    """A version; 0, which none has, for anything that is no number."""
    return number_of(given) or 0


@require_http_methods(["GET", "POST"])
def guideline_older(request: Request, slug: str) -> HttpResponse:
    """Labels given under a rule that has changed since; a POST sends the chosen annotations back to their authors."""
    membership = access.get_membership(request.user, slug, Role.ADMIN)
    current = membership.project.guidelines.first()
    if current is None:
        raise Http404("The project has no guideline yet.")
    form = ReturnForm(_posted(request), label_suffix="")
    field = "listed" if "all" in request.POST else "annotation"
    chosen = {_number(given) for given in request.POST.getlist(field)[:PER_PAGE]}
    status = 200
    if request.method == "POST":
        if form.is_valid() and chosen:
            n, n_held = _return_all(request, membership, current, chosen, form.cleaned_data["message"])
            messages.success(request, f"{n} annotation{'' if n == 1 else 's'} went back.")
            if n_held:
                said = f"{n_held} did not: another reviewer holds the trajectory. Send what is still listed back later."
                messages.warning(request, said)
            return redirect("guideline-older", slug)
        if not chosen:
            form.add_error(None, "Choose at least one annotation.")
        status = 422
    found = reading.given_under_older(membership.project, current)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "section": "guideline",
        "current": current,
        "form": form,
        "page": page,
        "rows": reading.older_of(page.object_list),
        "chosen": chosen,
    }
    return render(request, "projects/guideline_older.html", context, status=status)


@transaction.atomic
def _return_all(
    request: Request, membership: Membership, current: Guideline, chosen: set[int], message: str
) -> tuple[int, int]:
    """Returns those of the chosen annotations that the page offers; how many, and how many a reviewer's hold kept."""
    found = reading.given_under_older(membership.project, current).filter(pk__in=chosen)
    # In the order in which whoever takes several trajectories takes them.
    found = found.order_by("trajectory_id", "assignment_id")
    n = n_held = 0
    for row in reading.older_of(found):
        if row.is_with_author or not row.has_author:
            continue
        try:
            return_to_author(row.annotation.pk, request.user, message)
        except ReviewHeld:
            n_held += 1
        else:
            n += 1
    return n, n_held


@require_http_methods(["GET", "POST"])
def settings(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, Role.ADMIN)
    project = membership.project
    form, dimensions = settings_forms(project, _posted(request))
    status = 200
    if request.method == "POST":
        if form.is_valid() and dimensions.is_valid():
            try:
                changed = actions.change_settings(project, form.changes(dimensions), user=request.user)
            except InvalidSettings as error:
                refuse(form, {name.replace("hint_policy.", "hint_"): said for name, said in error.fields.items()})
            else:
                said = ", ".join(name.replace("_", " ") for name in changed["new"])
                messages.success(request, f"Changed: {said}." if said else "Nothing was changed.")
                return redirect("project-settings", slug)
        status = 422
    context = {
        "membership": membership,
        "section": "settings",
        "form": form,
        "dimensions": dimensions,
        "taxonomies": [(TAXONOMY_LABELS.get(key, key), names) for key, names in TAXONOMIES.items()],
        "n_trajectories": project.trajectories.count(),
    }
    return render(request, "projects/settings.html", context, status=status)
