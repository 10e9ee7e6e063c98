"""95 % intervals of shares and of figures that are drawn anew. Pure."""

import numpy as np

from annotator.agreement.coefficients import FloatArray

Z = 1.959964  # of a 95 % interval


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927, J. Am. Stat. Assoc. 22) for a share of n > 0 observations."""
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def of_resamples(
    value: float, drawn: FloatArray, n_groups: int, *, is_share: bool
) -> tuple[float, float] | tuple[None, None]:
    """Of a figure and its resamples (NaN: undefined) of groups, of which `n_groups` have part in it; None below two.

    Resamples that are all the same only say that there are too few groups to differ: a share then has Wilson's interval
    with each group as one observation, as if its steps were copies of each other, and any other figure has none.
    """
    known = drawn[~np.isnan(drawn)]
    if not known.size or n_groups < 2:
        return None, None
    if np.ptp(known) < 1e-9:
        return wilson(min(1.0, max(0.0, value)), n_groups) if is_share else (None, None)
    low, high = (float(bound) for bound in np.quantile(known, [0.025, 0.975]))
    return low, high
