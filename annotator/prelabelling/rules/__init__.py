"""Rule verifiers: what can be said about steps without a model. Pure, and safe on hostile trajectories.

Rules make findings, not labels. Measured on real trajectories, most of them say little about the value of a step
(docs/rules.md); they are shown to people as observations, and the fusion learns from gold what each is worth.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import groupby, islice

import numpy as np
from pydantic import JsonValue

from annotator.importing.schema import MessageIn
from annotator.prelabelling.rules.answers import against_reference, missing_tag, unsupported
from annotator.prelabelling.rules.calls import schema_violation, unknown_tool, unreadable_arguments
from annotator.prelabelling.rules.conduct import cut_off, literal_call, no_consent
from annotator.prelabelling.rules.errors import tool_error
from annotator.prelabelling.rules.reading import Finding, Run, read_run
from annotator.prelabelling.rules.repeats import repeat, retry
from annotator.prelabelling.rules_config import RuleCode, RulesConfig
from annotator.prelabelling.scores import TrajectoryScores

__all__ = ["RULES", "Finding", "find", "scores_of"]

RULES: dict[RuleCode, Callable[[Run, RulesConfig], Iterable[Finding]]] = {
    "R1": unreadable_arguments,
    "R2": unknown_tool,
    "R3": schema_violation,
    "R4": repeat,
    "R5": tool_error,
    "R6": retry,
    "R7": literal_call,
    "R8": missing_tag,
    "R9": against_reference,
    "R10": no_consent,
    "R11": unsupported,
    "R12": cut_off,
}
_PER_STEP = 5  # findings of one rule at one step: a step of a thousand broken calls is told soon enough


def find(
    messages: Sequence[MessageIn],
    tools: Sequence[JsonValue],
    reference: JsonValue = None,
    settings: RulesConfig | None = None,
) -> list[Finding]:
    """All findings, by step and then in the order of the rules."""
    settings = settings or RulesConfig()
    run = read_run(messages, tools, reference)
    found: list[Finding] = []
    for code, rule in RULES.items():
        if code not in settings.off:
            for _, of_step in groupby(rule(run, settings), key=lambda finding: finding.step):
                found.extend(islice(of_step, _PER_STEP))
    return sorted(found, key=lambda finding: finding.step)


def scores_of(findings: Sequence[Finding], n_steps: int) -> TrajectoryScores:
    """What the rules say in the form of every pre-labeller: they abstain from every step, and give their reasons.

    A finding is no probability, and how far it speaks for a value is for the fusion to learn; the findings themselves
    go along. Raises ValueError for a finding of a step that does not exist.
    """
    if beyond := [finding.step for finding in findings if not 0 <= finding.step < n_steps]:
        raise ValueError(f"A finding names step {beyond[0] + 1}, but the trajectory has {n_steps} steps.")
    sentences = [
        [f"{finding.code}: {finding.sentence}" for finding in findings if finding.step == i] for i in range(n_steps)
    ]
    return TrajectoryScores(
        probs=np.full((n_steps, 3), np.nan),
        raw=None,
        rationales=["\n".join(lines) if lines else None for lines in sentences],
        n_tokens=0,
        n_dropped_tokens=0,
        first_truncated_step=None,
        note="Rules make findings, not labels: they give no value to any step.",
        findings=tuple(asdict(finding) for finding in findings),
    )
