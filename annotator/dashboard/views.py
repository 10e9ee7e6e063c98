"""What a person sees first: their projects, one project, their API tokens."""

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from knox.models import AuthToken
from knox.settings import knox_settings

from annotator import access, accounts
from annotator.dashboard import progress
from annotator.http import Request
from annotator.models import Membership
from annotator.raters.actions import latest_versions
from annotator.releases.freezing import releasable

Role = Membership.Role

# So many trajectories that nobody can judge any more are named; they are rare, and the first ones tell the story.
MOST_STUCK = 20
# Counting those that a release could take reads every step; beyond so many it says "or more".
MOST_RELEASABLE = 1000


@require_GET
@login_not_required
def health(request: HttpRequest) -> HttpResponse:
    """Whether this process and its database can serve people; for load balancers, so it needs no session."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "error", "message": "The database does not answer."}, status=503)
    return JsonResponse({"status": "ok"})


@require_GET
def project_list(request: Request) -> HttpResponse:
    return render(request, "dashboard/project_list.html", {"memberships": progress.memberships_of(request.user)})


@require_GET
def project_overview(request: Request, slug: str) -> HttpResponse:
    """An annotator sees their own work and nothing of their colleagues'; the others see how the project stands."""
    membership = access.get_membership(request.user, slug)
    project = membership.project
    context = {"membership": membership, "section": "overview", "guideline": project.guidelines.first()}
    if membership.role == Role.ANNOTATOR:
        own = {"claims": progress.claims_of(project, request.user), "own": progress.own_counts(project, request.user)}
        return render(request, "dashboard/overview_annotator.html", {**context, **own})
    is_admin = membership.role == Role.ADMIN
    members = progress.members_of(project)
    state = progress.of_project(project, request.user)
    whole = {
        "progress": state,
        "throughput": progress.throughput(project, state.n_wanted - state.n_submitted),
        "held": progress.held_in(project),
        "members": members,
        "has_annotators": any(member.membership.role == Role.ANNOTATOR for member in members),
        "n_reviewers": sum(member.membership.role == Role.REVIEWER for member in members),
        "stuck": progress.waiting_for_nobody(project, MOST_STUCK),
        "n_releasable": releasable(project)[:MOST_RELEASABLE].count() if is_admin else 0,
        "most_releasable": MOST_RELEASABLE,
        "could_select": is_admin and bool(latest_versions(project)) and not project.selection_rounds.exists(),
        "is_admin": is_admin,
    }
    return render(request, "dashboard/overview_project.html", {**context, **whole})


@never_cache
@require_http_methods(["GET", "POST"])
def token_list(request: Request) -> HttpResponse:
    """One's own API tokens; a POST makes one and shows it in its answer, the only time that it can be read."""
    new = None
    if request.method == "POST":
        _, new = accounts.create_token(request.user, user=request.user)
    tokens = AuthToken.objects.filter(user=request.user).annotate(has_expired=Q(expiry__lte=now())).order_by("-created")
    return render(
        request, "dashboard/tokens.html", {"tokens": tokens, "new": new, "days": knox_settings.TOKEN_TTL.days}
    )


@require_POST
def token_revoke(request: Request, key: str) -> HttpResponse:
    if not accounts.revoke_token(request.user, key):
        raise Http404(f"There is no token that begins with {key!r} among yours.")
    messages.success(request, f"The token that begins with {key} no longer opens anything.")
    return redirect("token-list")
