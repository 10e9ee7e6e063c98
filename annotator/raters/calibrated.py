"""What a model said, as probabilities: calibrated, if it is."""

from collections.abc import Sequence

import numpy as np

from annotator.agreement.coefficients import FloatArray
from annotator.agreement.sums import VALUES
from annotator.models import Calibration
from annotator.raters.calibration import CumulativeLink, Temperature


def calibrated(probs: Sequence[Sequence[float | None]] | FloatArray, calibration: Calibration | None) -> FloatArray:
    """(n, 3) as stored -> (n, 3), a row of NaN where the model abstained; no calibration: the model's own numbers."""
    array = np.array(probs, dtype=np.float64).reshape(-1, len(VALUES))  # of no steps: still rows of three
    if calibration is None:
        return array
    if calibration.method == Calibration.Method.CUMULATIVE_LINK:
        return CumulativeLink(**calibration.parameters).probabilities(non_negative(array))
    return Temperature(**calibration.parameters).probabilities(array)


def non_negative(probs: FloatArray) -> FloatArray:
    """(n, 3) -> (n,): P(not wrong), all that a model of two classes has said; NaN where it abstained."""
    return np.asarray(1 - probs[:, 0])
