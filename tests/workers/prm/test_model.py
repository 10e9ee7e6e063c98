"""The network: its loss against a slow reference, its masks, its size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.prm.model import Shape, StepScorer, corn_loss, member_probabilities

SMALL = Shape(n_inputs=6, max_steps=16, causal=False, width=16, n_heads=2, feedforward=24, n_members=3, member_width=4)


def model(**changes: object) -> StepScorer:
    torch.manual_seed(0)
    return StepScorer(Shape(**{**vars(SMALL), **changes})).eval()


def probabilities(scorer: StepScorer, *trajectories: torch.Tensor) -> list[torch.Tensor]:
    rows = torch.nn.utils.rnn.pad_sequence(list(trajectories), batch_first=True)
    with torch.inference_mode():
        said = member_probabilities(scorer(rows, torch.tensor([len(one) for one in trajectories])))
    return [said[i, : len(one)] for i, one in enumerate(trajectories)]


def slow_corn(logits: list[list[float]], targets: list[list[float]], weights: list[float]) -> float:
    """Step by step, question by question, as CORN is defined, with the share of P(y > -1) in the second question."""

    def cross_entropy(logit: float, wanted: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -(wanted * math.log(p) + (1 - wanted) * math.log(1 - p))

    total = asked = 0.0
    for (first, second), (_, neutral, positive), weight in zip(logits, targets, weights, strict=True):
        above = neutral + positive
        total += weight * cross_entropy(first, above)
        asked += weight
        if above > 0:
            total += weight * above * cross_entropy(second, positive / above)
            asked += weight * above
    return total / asked


def test_the_loss_of_three_steps_worked_by_hand() -> None:
    # log 2 for every question that is asked with a logit of 0: three first ones, two second ones.
    targets = torch.eye(3)
    assert corn_loss(torch.zeros(3, 2), targets, torch.ones(3)).item() == pytest.approx(math.log(2))
    # Only the first step counts: -1 with f1 = 0, so a half; it is not asked the second question.
    weights = torch.tensor([1.0, 0.0, 0.0])
    sure = torch.tensor([[0.0, 9.0], [5.0, 5.0], [5.0, 5.0]])
    assert corn_loss(sure, targets, weights).item() == pytest.approx(math.log(2))


_logit = st.floats(-8, 8)
_share = st.integers(0, 4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.tuples(_logit, _logit), st.tuples(_share, _share, _share).filter(any), st.floats(0.1, 3)),
        min_size=1,
        max_size=6,
    )
)
def test_the_loss_is_that_of_a_slow_reference_soft_labels_included(steps: list) -> None:
    logits = [list(step[0]) for step in steps]
    targets = [[share / sum(step[1]) for share in step[1]] for step in steps]
    weights = [step[2] for step in steps]
    found = corn_loss(
        torch.tensor(logits, dtype=torch.float64),
        torch.tensor(targets, dtype=torch.float64),
        torch.tensor(weights, dtype=torch.float64),
    )
    assert found.item() == pytest.approx(slow_corn(logits, targets, weights), rel=1e-9, abs=1e-12)


def test_probabilities_are_those_of_two_questions_in_a_row() -> None:
    logits = torch.logit(torch.tensor([[0.8, 0.5], [0.5, 0.9]], dtype=torch.float64))
    expected = [[0.2, 0.4, 0.4], [0.5, 0.05, 0.45]]
    np.testing.assert_allclose(member_probabilities(logits).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("changed", range(5))
def test_a_causal_scorer_sees_nothing_that_comes_later(changed: int) -> None:
    scorer = model(causal=True)
    before = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    after = before.clone()
    after[changed] += 1
    [one], [other] = probabilities(scorer, before), probabilities(scorer, after)
    torch.testing.assert_close(one[:changed], other[:changed], atol=0, rtol=0)
    assert all((one[t] - other[t]).abs().max() > 1e-6 for t in range(changed, 5))


def test_a_full_scorer_sees_what_comes_later() -> None:
    before = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    after = before.clone()
    after[4] += 1
    [one], [other] = probabilities(model(), before), probabilities(model(), after)
    assert (one[0] - other[0]).abs().max() > 1e-6


@pytest.mark.parametrize("causal", [False, True])
def test_neither_the_batch_nor_its_order_changes_a_score(causal: bool) -> None:
    scorer = model(causal=causal)
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randn(n, 6, generator=generator) for n in (3, 1, 7)]
    together, backwards = probabilities(scorer, *rows), probabilities(scorer, *rows[::-1])[::-1]
    for alone, one, other in zip([probabilities(scorer, row)[0] for row in rows], together, backwards, strict=True):
        torch.testing.assert_close(one, alone, atol=1e-6, rtol=0)
        torch.testing.assert_close(other, alone, atol=1e-6, rtol=0)


def test_numbers_get_variance_1_and_an_encoded_text_keeps_its_proportions() -> None:
    scorer = model()
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(3)) * torch.tensor([1, 5, 9, 2, 1, 0.0]) + 4
    scorer.normalise_by(rows, [slice(0, 3)])
    variance = ((rows - scorer.centre) / scorer.scale).var(dim=0, correction=0)
    assert variance[:3].sum().item() == pytest.approx(1, rel=1e-4)
    assert (variance[2] / variance[0]).item() == pytest.approx((rows[:, 2].var() / rows[:, 0].var()).item(), rel=1e-4)
    np.testing.assert_allclose(variance[3:], [1, 1, 0], atol=1e-4)  # a constant stays one


def test_the_whole_network_has_less_than_a_million_parameters() -> None:
    with_minilm = Shape(n_inputs=2 * 384 + 188, max_steps=128, causal=False)
    scorer = StepScorer(with_minilm)
    assert sum(weight.numel() for weight in [*scorer.parameters(), *scorer.buffers()]) < 1_000_000


def test_members_differ_where_they_were_not_trained() -> None:
    said = probabilities(model(), torch.full((2, 6), 3.0))[0]
    assert (1 - said[..., 0]).std(dim=1).min() > 0.01
