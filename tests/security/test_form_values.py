"""What no page of ours sends in a form is refused or passed over, and is no error of the server."""

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from django.test import Client

from annotator.models import Adjudication, Annotation, Assignment, AuditEvent, Dispute, Guideline, Review
from annotator.queue import actions as queue
from tests.factories import judge, make_trajectory, make_world

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
DIGITS = "9" * 5_000  # more than Python makes a number of
LARGE = "9" * 18  # a number, and no version that the database could hold

POSTS = [
    ("reviewer", "/projects/demo/reviews/claim/", {"review": DIGITS}, 404),
    ("reviewer", "/reviews/{review}/disputes/{dispute}/decide/", {"value": "1", "dispute": DIGITS}, 422),
    ("reviewer", "/disputes/{dispute}/comment/", {"annotation": DIGITS, "text": "Why?"}, 404),
    ("reviewer", "/projects/demo/returns/take-back/", {"annotator": "\0"}, 302),
    ("annotator", "/annotations/{annotation}/answer/", {"step": DIGITS, "text": "So."}, 404),
    ("annotator", "/assignments/{held}/", {f"step-{DIGITS}": "1", "step-0": "7"}, 400),
    ("annotator", "/assignments/{held}/", {f"step-{LARGE}": "1"}, 400),
    ("annotator", "/assignments/{held}/", {"step-0": "1", "guideline": LARGE}, 400),
    ("annotator", "/tokens/%00/revoke/", {}, 404),
    ("admin", "/projects/demo/guideline/", {"text": "New.", "based_on": DIGITS}, 409),
    ("admin", "/projects/demo/guideline/", {"text": "New.", "based_on": LARGE}, 409),
]


@pytest.mark.parametrize(
    ("who", "path", "form", "status"), POSTS, ids=lambda value: repr(value).replace(DIGITS, "DIGITS")
)
def test_an_impossible_value_changes_nothing_and_breaks_nothing(
    who: str, path: str, form: Mapping[str, str], status: int, client: Client
) -> None:
    world = make_world()
    trajectory = make_trajectory(world.project)
    annotation = judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [-1, 1, 1])
    make_trajectory(world.project)
    held = queue.claim_next(world.project, world.annotator)
    assert held is not None
    review, dispute = Review.objects.get(), Dispute.objects.get()
    client.raise_request_exception = False
    client.force_login(world.user(who))

    def stored() -> list[object]:
        kinds = (Adjudication, Annotation, Assignment, AuditEvent, Guideline, Review)
        return [list(kind.objects.order_by("pk").values()) for kind in kinds]

    before = stored()
    ids = {"review": review.pk, "dispute": dispute.pk, "annotation": annotation.pk, "held": held.pk}
    assert client.post(path.format(**ids), urlencode(form), content_type=FORM).status_code == status
    assert stored() == before
