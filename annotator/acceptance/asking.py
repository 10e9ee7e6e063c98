"""Who is asked about steps that lose their accepted labels."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, Membership, Project, Trajectory

Status = Assignment.Status


def ask_again(project: Project, slots: Mapping[int, Sequence[Assignment]], missing: Mapping[int, list[int]]) -> None:
    """Asks as many people about the missing steps as the project's overlap says, and nobody who does not exist.

    Open slots ask for them, too. What lacks then is asked of annotators who have not had the trajectory, in new slots;
    what lacks still of those who hold or have judged it, who get theirs back, unless a reviewer has taken these steps
    back from them. Where nobody is left of either, one slot waits for whoever joins. slots: the live ones by
    trajectory, locked; missing: the indices of the steps.
    """
    members = dict(Membership.objects.filter(project=project, user__is_active=True).values_list("user", "role"))
    annotators = {user for user, role in members.items() if role == Membership.Role.ANNOTATOR}
    had, since = _had(missing), _asked_since(missing)
    lengths = dict(Trajectory.objects.filter(pk__in=missing).values_list("pk", "n_steps"))
    changed: list[Assignment] = []
    new: list[Assignment] = []
    for trajectory, steps in missing.items():
        own = slots[trajectory]
        if not own:
            continue  # everything was accepted, so it had left the queue: it is enqueued anew
        is_begun = any(slot.status != Status.OPEN for slot in own)
        waiting = [slot for slot in own if slot.status == Status.OPEN]
        narrow = [slot for slot in own if not all(slot.wants_step(index) for index in steps)]
        widened = [slot for slot in narrow if slot.status == Status.OPEN]
        n_asked = len(own) - len(narrow) + len(widened)
        n_lacking = max(project.overlap - n_asked, 0)
        n_free = max(len(annotators - had[trajectory]) - len(waiting), 0)
        holders = [
            slot
            for slot in narrow
            if slot.status != Status.OPEN
            and slot.annotator_id in members
            and since.get(slot.pk, set()).isdisjoint(steps)
        ]
        holders.sort(key=lambda slot: slot.status == Status.SUBMITTED)  # what is still in work first
        back = holders[: max(n_lacking - n_free, 0)]
        n_new = min(n_lacking - len(back), n_free)
        if not (n_asked or back or n_new):
            n_new = 1
        for slot in (*widened, *back):
            added = [index for index in steps if not slot.wants_step(index)]
            both = sorted({*(slot.wanted_steps or []), *steps})
            slot.wanted_steps = None if len(both) == lengths[trajectory] and not is_begun else both
            changed.append(slot)
            if slot.status in (Status.SUBMITTED, Status.RETURNED):
                revisions.ask_again(slot, added)
        new += [
            Assignment(
                project=project,
                trajectory_id=trajectory,
                slot=len(own) + number,
                wanted_steps=steps,
                wants_outcome=False,
            )
            for number in range(n_new)
        ]
    Assignment.objects.bulk_update(changed, ["wanted_steps"])
    Assignment.objects.bulk_create(new)


def _had(trajectories: Collection[int]) -> dict[int, set[int]]:
    """By trajectory: who has had it, so that no other slot of it may be theirs."""
    found: dict[int, set[int]] = defaultdict(set)
    rows = Assignment.objects.filter(trajectory__in=trajectories, annotator__isnull=False)
    for trajectory, user in rows.values_list("trajectory_id", "annotator_id"):
        assert user is not None
        found[trajectory].add(user)
    return found


def _asked_since(trajectories: Collection[int]) -> dict[int, set[int]]:
    """By slot: the steps that were asked of its annotator after what counts of theirs was submitted."""
    submitted = Annotation.objects.submitted().filter(trajectory__in=trajectories)
    slots = dict(submitted.values_list("pk", "assignment_id"))
    return {slots[pk]: steps for pk, steps in revisions.asked_since(slots).items()}
