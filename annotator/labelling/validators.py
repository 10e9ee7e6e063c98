"""What does not fit together in an annotation: some of it blocks submitting, some only asks "are you sure?". Pure.

The rules are V2 to V6 of the error-propagation model (docs/labelling.md) and V7, what rule verifiers found: V1,
completeness, is checked apart because it names places.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """One step label as the validators see it; `root` is the step index whose error it carries on."""

    value: int
    root: int | None = None
    exit_reason: str = ""


@dataclass(frozen=True)
class Finding:
    """A sentence for the annotator; `step` is where to look (None: the outcome)."""

    code: str
    step: int | None
    blocks: bool
    sentence: str


def check(labels: Mapping[int, Said], outcome: int | None, *, n_steps: int, carries_errors: bool) -> list[Finding]:
    """Findings in the order of the steps; `labels` by step index, of all the trajectory's steps or of some."""
    findings = []
    for index in sorted(labels):
        findings += _check_step(index, labels, carries_errors=carries_errors)
    findings += _check_outcome(labels, outcome, n_steps)
    return findings


def check_doubts(labels: Mapping[int, Said], doubts: Mapping[int, str]) -> list[Finding]:
    """V7: +1 on a step at which a rule found what speaks against it; `doubts` has the rule's sentence by step index."""
    return [
        Finding("V7", index, False, f"Step {index + 1} is labelled +1, but a rule found: {doubts[index]}")
        for index in sorted(labels.keys() & doubts.keys())
        if labels[index].value == 1
    ]


def _check_step(index: int, labels: Mapping[int, Said], *, carries_errors: bool) -> list[Finding]:
    said, number = labels[index], index + 1
    found = []
    if said.root is not None:
        root = labels.get(said.root)
        if said.root >= index or root is None or root.value != -1:
            sentence = f"Step {number} follows from step {said.root + 1}, which is no error. Label one of them again."
            found.append(Finding("V3", index, True, sentence))
        elif root.root is not None:
            chain = f"follows from step {said.root + 1}, which itself follows from step {root.root + 1}"
            found.append(Finding("V3", index, True, f"Step {number} {chain}. Label step {number} again."))
    if said.exit_reason and said.value == -1 and said.exit_reason == "corrected":
        sentence = f"Step {number} is marked as fixed here but labelled −1. Take one of the two back."
        found.append(Finding("V5", index, True, sentence))
    fixes = said.exit_reason == "corrected"
    if (fixes or (said.exit_reason and carries_errors)) and not _may_follow_error(index, labels):
        mark, remedy = (
            ("fixed here", "Label it again.") if fixes else ("independent", "Press i on it to take that back.")
        )
        sentence = f"Step {number} is marked as {mark}, but no error is left before it. {remedy}"
        found.append(Finding("V4", index, fixes, sentence))
    before = labels.get(index - 1)
    if carries_errors and before and before.value == -1 and said.value != -1 and not said.exit_reason:
        sentence = f"Step {number} ends an error, but not how: fixed here, or independent of it?"
        found.append(Finding("V2", index, False, sentence))
    return found


def _may_follow_error(index: int, labels: Mapping[int, Said]) -> bool:
    """Whether not every error before this step is fixed; a step that was not asked for may be one."""
    before = [labels.get(i) for i in range(index)]
    errors = {i for i, said in enumerate(before) if said is None or said.value == -1}
    begun = [i for i in errors if (said := before[i]) is None or said.root not in errors]  # not what follows from one
    return len(begun) > sum(said is not None and said.exit_reason == "corrected" for said in before)


def _check_outcome(labels: Mapping[int, Said], outcome: int | None, n_steps: int) -> list[Finding]:
    last = labels.get(n_steps - 1)
    if outcome == 1 and last is not None and last.value == -1:
        return [Finding("V6", None, False, "The outcome is +1, but the last step is −1.")]
    # A step that was not asked for may hold the error.
    if outcome == -1 and 0 < n_steps == len(labels) and all(said.value != -1 for said in labels.values()):
        return [Finding("V6", None, False, "The outcome is −1, but no step is.")]
    return []
