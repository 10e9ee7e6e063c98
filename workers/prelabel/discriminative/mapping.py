"""From the numbers of a head to probabilities of -1, 0 and +1. Pure: arrays in, arrays out."""

import numpy as np

from annotator.prelabelling.discriminative import Mapping
from annotator.prelabelling.scores import split_non_negative


def probabilities(logits: np.ndarray, rule: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(members, n, outputs) -> (n, 3) probabilities, (n,) raw, (n,) standard deviation over the members.

    The mean is taken over the members' probabilities, as ActPRM does; one member has no deviation. A step for which the
    head gave no finite number is an abstention: NaN everywhere.
    """
    logits = logits.astype(np.float64)
    if rule.activation == "sigmoid":
        members = 1 / (1 + np.exp(-np.clip(logits[..., 0], -500, 500)))  # (members, n): P(not negative)
        members = np.where(np.isfinite(logits[..., 0]), members, np.nan)
        probs = split_non_negative(members.mean(axis=0))
    else:
        with np.errstate(invalid="ignore"):
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares = powers / powers.sum(axis=-1, keepdims=True)  # (members, n, outputs)
        columns = {output: shares[..., i] for i, output in enumerate(rule.outputs)}
        if "non_negative" in columns:
            members = columns["non_negative"]
            probs = split_non_negative(members.mean(axis=0))
        else:
            members = columns["neutral"] + columns["positive"]
            three = [columns["negative"], columns["neutral"], columns["positive"]]
            probs = np.stack([column.mean(axis=0) for column in three], axis=1)
    p = members.mean(axis=0)
    raw = p if rule.raw == "probability" else 2 * p - 1
    return probs, raw, members.std(axis=0) if len(members) > 1 else None
