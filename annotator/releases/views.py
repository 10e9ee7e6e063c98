"""Publishing releases, and fetching them."""

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from annotator import access, flow
from annotator.http import Request
from annotator.models import Adjudication, Job, Membership, Release
from annotator.releases import actions
from annotator.releases.compare import Counts, TrajectoryChange
from annotator.releases.downloads import download
from annotator.releases.exporters import EXPORTERS
from annotator.releases.files import file_name, manifest_sha256, manifest_text
from annotator.releases.forms import ReleaseForm, initial_of
from annotator.releases.freezing import releasable
from annotator.releases.policy import SPLITS, ReleasePolicy


@require_http_methods(["GET", "POST"])
def release_list(request: Request, slug: str) -> HttpResponse:
    """The published releases; a POST by an admin publishes the next one."""
    if request.method == "GET":
        return _render_list(request, access.get_membership(request.user, slug, *access.SETTLERS), None)
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    form = ReleaseForm(request.POST, label_suffix="")
    if not form.is_valid():
        return _render_list(request, membership, form)
    job = flow.publish(membership.project, form.policy(), user=request.user)
    if job.status == Job.Status.DONE:
        return redirect("release-detail", job.result["release"])
    if job.status == Job.Status.FAILED:
        form.add_error(None, job.error)
        return _render_list(request, membership, form)
    return redirect("job-detail", job.pk)


def _render_list(request: Request, membership: Membership, form: ReleaseForm | None) -> HttpResponse:
    project = membership.project
    releases = list(Release.objects.published().filter(project=project).select_related("created_by"))
    rows = [{"release": r, "previous": p} for r, p in zip_longest(releases, releases[1:])]
    is_admin = membership.role == Membership.Role.ADMIN
    status = 200 if form is None else 422
    if form is None and is_admin:
        # The policy of the last release: two releases that are to be compared should count the same things.
        latest = ReleasePolicy.parse(releases[0].policy) if releases else ReleasePolicy()
        form = ReleaseForm(initial=initial_of(latest), label_suffix="")
    context = {
        "membership": membership,
        "section": "releases",
        "rows": rows,
        "form": form,
        "n_releasable": releasable(project).count() if is_admin else 0,
        "n_trajectories": project.trajectories.count() if is_admin else 0,
    }
    return render(request, "releases/list.html", context, status=status)


@dataclass
class File:
    """One file of a release as the manifest describes it."""

    name: str
    split: str | None
    n_rows: int
    n_bytes: int
    sha256: str
    left_out: dict[str, int]


@dataclass
class Format:
    """One format of a release with its files."""

    name: str
    description: str
    files: list[File]


def _format(name: str, manifest_files: dict[str, Any]) -> Format:
    files = []
    for split in (None, *SPLITS):
        about = manifest_files.get(file_name(name, split))
        if about:
            files.append(File(file_name(name, split), split, **{"left_out": {}, **about}))
    return Format(name, EXPORTERS[name].description, files)


@require_GET
def release_detail(request: Request, pk: int) -> HttpResponse:
    membership, release = access.get_release(request.user, pk)
    files = release.manifest["files"]
    raters = membership.project.memberships.select_related("user").order_by("user__username")
    context = {
        "membership": membership,
        "section": "releases",
        "release": release,
        "manifest": release.manifest,
        "manifest_sha256": manifest_sha256(release),
        "formats": [_format(name, files) for name in EXPORTERS],
        "error_view": ReleasePolicy.parse(release.policy).error_view.replace("_", " "),
        "figures": _figures(release.manifest["agreement"]),
        "raters": raters if membership.role == Membership.Role.ADMIN else None,
        "split_files": [split for split in SPLITS if file_name("trl_stepwise", split) in files],
    }
    return render(request, "releases/detail.html", context)


def _figures(agreement: dict[str, Any]) -> list[tuple[str, dict[str, float | None]]]:
    names = {
        "raw_agreement": "Raw agreement on steps",
        "cohen_kappa": "Cohen's kappa",
        "fleiss_kappa": "Fleiss' kappa",
        "krippendorff_alpha_nominal": "Krippendorff's alpha, nominal",
        "krippendorff_alpha_ordinal": "Krippendorff's alpha, ordinal",
        "first_error_agreement": "Agreement on the first error",
    }
    return [(label, agreement[name]) for name, label in names.items() if name in agreement]


@require_GET
def release_manifest(request: Request, pk: int) -> HttpResponse:
    membership, release = access.get_release(request.user, pk)
    response = HttpResponse(manifest_text(release), content_type="application/json")
    name = f"{membership.project.slug}-v{release.number}-manifest.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@require_GET
def release_export(request: Request, pk: int) -> FileResponse:
    _, release = access.get_release(request.user, pk)
    return download(release, request.GET.get("format", ""), request.GET.get("split") or None)


COMPARED_PER_PAGE = 50


@require_GET
def release_compare(request: Request, pk: int, other: int) -> HttpResponse:
    """What changed from release `pk` to release `other`; `?format=json` has all of it."""
    membership, before = access.get_release(request.user, pk)
    _, after = access.get_release(request.user, other)
    if before.project_id != after.project_id:
        raise Http404(f"Releases {pk} and {other} are not of one project.")
    counts, changes = Counts(), []
    for change in actions.changes(before, after):
        counts.add(change)
        changes.append(change)
    policy = _policy_changes(before, after)
    if request.GET.get("format") == "json":
        return JsonResponse(_compared_json(before, after, policy, counts, changes))
    members = membership.project.memberships.select_related("user")
    is_admin = membership.role == Membership.Role.ADMIN
    context = {
        "membership": membership,
        "section": "releases",
        "before": before,
        "after": after,
        "releases": Release.objects.published().filter(project=membership.project).order_by("number"),
        "policy_changes": policy,
        "counts": counts,
        "transitions": sorted(counts.transitions.items(), key=lambda item: (-item[1], str(item[0]))),
        "reasons": counts.reasons.most_common(),
        "page": Paginator(changes, COMPARED_PER_PAGE).get_page(request.GET.get("page")),
        # Who is behind a rater code is for admins alone.
        "names": {member.rater_code: member.user.username for member in members} if is_admin else {},
        "reason_codes": dict(Adjudication.Reason.choices),
    }
    return render(request, "releases/compare.html", context)


def _policy_changes(before: Release, after: Release) -> dict[str, tuple[object, object]]:
    """The fields of the policy in which the two differ: from, to."""
    old, new = (ReleasePolicy.parse(release.policy).model_dump(mode="json") for release in (before, after))
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


def _compared_json(
    before: Release,
    after: Release,
    policy: dict[str, tuple[object, object]],
    counts: Counts,
    changes: list[TrajectoryChange],
) -> dict[str, Any]:
    transitions = sorted(counts.transitions.items(), key=str)
    return {
        "before": {"id": before.pk, "number": before.number},
        "after": {"id": after.pk, "number": after.number},
        "policy": {name: {"before": old, "after": new} for name, (old, new) in policy.items()},
        "counts": {
            **{name: getattr(counts, name) for name in ("added", "removed", "changed", "moved", "steps", "outcomes")},
            "transitions": [{"before": old, "after": new, "n": n} for (old, new), n in transitions],
            "reasons": dict(sorted(counts.reasons.items())),
        },
        "trajectories": [asdict(change) for change in changes],
    }
