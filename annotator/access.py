"""The only way from a request to a row: 404 for whoever is no member, 403 with a reason for the wrong role."""

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import get_object_or_404

from annotator.labelling.store import Basis, read
from annotator.models import (
    Annotation,
    Assignment,
    AuditEvent,
    Dispute,
    Job,
    Membership,
    PrelabelRun,
    Release,
    Review,
    Trajectory,
    User,
)

Role = Membership.Role

SETTLERS = (Role.REVIEWER, Role.ADMIN)


def get_membership(user: User, slug: str, *roles: Role) -> Membership:
    """The user's membership in the project; with `roles`, only if it is one of them."""
    membership = Membership.objects.select_related("project").filter(user=user, project__slug=slug).first()
    if membership is None:
        raise Http404(f"There is no project {slug!r} among yours.")
    _require_role(membership, roles)
    return membership


def get_assignment(user: User, pk: int) -> Assignment:
    """An assignment that the user holds, or once held; nobody else's can be seen.

    Whoever held it may come back after the lease ran out: to go on if it is still free, else to be told.
    """
    mine = Assignment.objects.select_related("project").filter(project__memberships__user=user)
    assignment = get_object_or_404(mine, pk=pk)
    if assignment.annotator_id != user.pk:
        claims = AuditEvent.objects.filter(object_type="assignment", object_id=pk, action="assignment.claimed")
        if not claims.filter(user=user).exists():
            raise Http404(f"Assignment {pk} is not one of yours.")
    return assignment


def get_basis(user: User, pk: int) -> Basis:
    """The same assignment with all that a save must know, in one read."""
    basis = read(pk, user, as_member=True)
    if basis is None:
        raise Http404(f"Assignment {pk} is not one of yours.")
    if basis.assignment.annotator_id != user.pk:
        get_assignment(user, pk)  # only whoever once held it passes
    return basis


def get_trajectory(user: User, slug: str, pk: int) -> tuple[Membership, Trajectory]:
    """With what people said of it: not while the user judges it, whatever their role has become meanwhile."""
    membership = get_membership(user, slug, *SETTLERS)
    trajectory = get_object_or_404(Trajectory, project=membership.project, pk=pk)
    refuse_while_judging(user, trajectory.pk)
    return membership, trajectory


def refuse_while_judging(user: User, trajectory_id: int) -> None:
    """Who has seen colleagues' labels judges no longer on their own, and nothing in the labels would say so."""
    own = Assignment.objects.in_work_by(user).filter(trajectory=trajectory_id).first()
    if own is not None:
        is_returned = own.status == Assignment.Status.RETURNED
        raise PermissionDenied(
            "You are labelling this trajectory yourself, so what others said of it is not shown to you yet. Go on at "
            f"/assignments/{own.pk}/ and submit your labels{' again' if is_returned else ', or skip the trajectory,'} "
            "first."
        )


def get_annotation(user: User, pk: int) -> tuple[Membership, Annotation]:
    """A submitted annotation as reviewers and admins may see it."""
    submitted = Annotation.objects.filter(submitted_at__isnull=False).select_related("assignment")
    annotation = get_object_or_404(submitted, pk=pk)
    return _membership_of(user, annotation.assignment.project_id, *SETTLERS), annotation


def get_own_annotation(user: User, pk: int) -> tuple[Membership, Annotation]:
    """A submitted annotation as its author may see it; nobody else's can be seen."""
    own = Annotation.objects.filter(submitted_at__isnull=False, annotator=user).select_related("assignment")
    annotation = get_object_or_404(own, pk=pk)
    return _membership_of(user, annotation.assignment.project_id), annotation


def get_job(user: User, pk: int) -> tuple[Membership, Job]:
    job = get_object_or_404(Job, pk=pk)
    return _membership_of(user, job.project_id, Role.ADMIN), job


def get_prelabel_run(user: User, pk: int) -> tuple[Membership, PrelabelRun]:
    run = get_object_or_404(PrelabelRun.objects.select_related("job", "job__created_by", "version", "project"), pk=pk)
    return _membership_of(user, run.project_id, Role.ADMIN), run


def get_review(user: User, pk: int) -> tuple[Membership, Review]:
    review = get_object_or_404(Review.objects.select_related("trajectory"), pk=pk)
    membership = _membership_of(user, review.project_id, *SETTLERS)
    refuse_while_judging(user, review.trajectory_id)
    return membership, review


def get_dispute(user: User, pk: int) -> tuple[Membership, Dispute]:
    dispute = get_object_or_404(Dispute.objects.select_related("trajectory", "step"), pk=pk)
    membership = _membership_of(user, dispute.trajectory.project_id, *SETTLERS)
    refuse_while_judging(user, dispute.trajectory_id)
    return membership, dispute


def get_release(user: User, pk: int) -> tuple[Membership, Release]:
    release = get_object_or_404(Release.objects.published(), pk=pk)
    return _membership_of(user, release.project_id, *SETTLERS), release


def _membership_of(user: User, project_id: int, *roles: Role) -> Membership:
    membership = get_object_or_404(Membership.objects.select_related("project"), user=user, project_id=project_id)
    _require_role(membership, roles)
    return membership


def _require_role(membership: Membership, roles: tuple[Role, ...]) -> None:
    if roles and membership.role not in roles:
        wanted = " or ".join(role.value for role in roles)
        raise PermissionDenied(f"This needs the role {wanted}; yours in this project is {membership.role}.")
