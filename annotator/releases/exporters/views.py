"""What becomes of the steps that follow an error: the views that a release policy's `error_view` names. Pure.

as_labelled      the settled values as they are;
until_corrected  the same: with propagation a step that builds on an error is labelled -1 until a step ends the error;
strict           each step by itself: where every -1 on a step was marked as following from an earlier error, the step
                 gets what most of these raters thought of the step alone;
stop_at_first    the steps after the first -1 are masked, as in datasets that stop at the first error.
"""

from collections import Counter
from collections.abc import Sequence
from typing import cast

from annotator.releases.exporters.record import GoldStep, gold_value
from annotator.releases.policy import ErrorView


def in_view(steps: Sequence[GoldStep], view: ErrorView) -> list[GoldStep]:
    """The steps by index with the values that the view gives them; those that are handed in stay as they were."""
    ordered = sorted(steps, key=lambda step: step["index"])
    if view == "strict":
        return [cast(GoldStep, {**step, "value": strict_value(step)}) for step in ordered]
    if view == "stop_at_first":
        first = next((place for place, step in enumerate(ordered) if gold_value(step) == -1), len(ordered))
        return ordered[: first + 1] + [cast(GoldStep, {**step, "counts": False}) for step in ordered[first + 1 :]]
    return ordered


def strict_value(step: GoldStep) -> int | None:
    """The step judged by itself, as far as the raters said so.

    A settled -1 becomes the most frequent local value of those who gave -1, if each of them marked it as inherited and
    one value is more frequent than any other. Everything else keeps its settled value.
    """
    errors = [label for label in step["labels"] if label["value"] == -1]
    if step["value"] != -1 or not errors or any(label.get("root") is None for label in errors):
        return step["value"]
    # No local value means that it is the value itself.
    local = [-1 if label.get("local_value") is None else cast(int, label["local_value"]) for label in errors]
    counts = Counter(local).most_common()
    is_tied = len(counts) > 1 and counts[0][1] == counts[1][1]
    return -1 if is_tied else counts[0][0]
