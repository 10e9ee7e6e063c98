"""What stands beside the value of a label, in words: what the scheme asked for, and how the step was read."""

from annotator.models import Label
from annotator.projects.scheme import LabelScheme

ORDER = ("category", "severity", "recoverable", "rationale", "correction", "unsure")


def extras_of(label: Label, scheme: LabelScheme) -> list[tuple[str, str]]:
    """Name and text of each extra; the project's own dimensions come last."""
    dimensions = {dimension.key: dimension.name for dimension in scheme.dimensions}
    keys = [*(key for key in ORDER if key in label.extras), *sorted(label.extras.keys() - set(ORDER))]
    said = []
    for key in keys:
        given = label.extras[key]
        if given is None or given == "":
            continue
        text = ("yes" if given else "no") if isinstance(given, bool) else str(given)
        if key == "category":
            text = scheme.category_names.get(text, text)
        said.append((dimensions.get(key, key.replace("_", " ").capitalize()), text))
    return said


def reading_of(label: Label) -> str:
    """`12.5 s, seen, a folded text opened`."""
    parts = [f"{label.active_ms / 1000:.1f} s" if label.active_ms else "no time measured"]
    parts.append("seen" if label.is_seen else "not known to be seen")
    if label.has_opened:
        parts.append("a folded text opened")
    if label.is_after_reveal:
        parts.append("given after the reference was shown")
    if label.is_after_hint:
        parts.append("given after a model's suggestion was shown")
    return ", ".join(parts)
