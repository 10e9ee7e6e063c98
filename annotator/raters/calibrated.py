"""What a model said, as probabilities: calibrated, if it is."""

from collections.abc import Sequence

import numpy as np

from annotator.agreement.coefficients import FloatArray
from annotator.agreement.sums import VALUES
from annotator.models import Calibration
from annotator.raters.calibration import CumulativeLink, Temperature, fold_of


def calibrated(
    probs: Sequence[Sequence[float | None]] | FloatArray,
    calibration: Calibration | None,
    without_task: str | None = None,
) -> FloatArray:
    """(n, 3) as stored -> (n, 3), a row of NaN where the model abstained; no calibration: the model's own numbers.

    without_task: by what was fitted without this task's gold, to measure the calibration by that. One that was fitted
    before such were kept has none.
    """
    array = np.array(probs, dtype=np.float64).reshape(-1, len(VALUES))  # of no steps: still rows of three
    if calibration is None:
        return array
    folds = calibration.report.get("folds")
    parameters = folds[fold_of(without_task)] if folds and without_task is not None else calibration.parameters
    if calibration.method == Calibration.Method.CUMULATIVE_LINK:
        return CumulativeLink(**parameters).probabilities(non_negative(array))
    return Temperature(**parameters).probabilities(array)


def non_negative(probs: FloatArray) -> FloatArray:
    """(n, 3) -> (n,): P(not wrong), all that a model of two classes has said; NaN where it abstained."""
    return np.asarray(1 - probs[:, 0])
