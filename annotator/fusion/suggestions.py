"""What all raters together say, as the word of a model: so that it can be suggested, and told for good what was."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from django.db import transaction
from django.db.models import Exists, OuterRef

from annotator.fusion.reading import Read
from annotator.models import Assignment, Fusion, ModelVersion, Prediction, Project
from annotator.prelabelling.actions import Identity, version_of

if TYPE_CHECKING:
    from annotator.fusion.fit import Fusion as Fitted

# Fusions by these methods have proved themselves on gold.
TRUSTED = (Fusion.Method.BLEND, Fusion.Method.STACKER, Fusion.Method.CHAIN)
_AT_ONCE = 500


def are_wanted(project: Project) -> bool:
    return not project.hints.is_blind and project.hints.model == ModelVersion.ALL_RATERS


def write(fusion: Fusion, found: Read, fitted: "Fitted") -> int:
    """A version of them with a prediction for each trajectory that nobody has been given yet; returns how many.

    It knows no more than the models that it hears: neither how the trajectory ended by its reward, nor what rules
    found, which may have read the reference.
    """
    if fusion.method not in TRUSTED:
        return 0
    parameters = bytes(fusion.parameters)
    with transaction.atomic():
        version = version_of(
            fusion.project_id,
            ModelVersion.Kind.FUSION,
            ModelVersion.ALL_RATERS,
            {"fusion": fusion.number, "hears": [str(one) for one in found.versions]},
            Identity(config_sha256=fusion.data_sha256, weights_sha256=hashlib.sha256(parameters).hexdigest()),
            sees_reference=any(one.sees_reference for one in found.versions),
        )
    slots = Assignment.objects.open().filter(trajectory=OuterRef("pk"), hint_arm="")
    said = Prediction.objects.filter(trajectory=OuterRef("pk"), version=version)
    free = fusion.project.trajectories.filter(Exists(slots), ~Exists(said))
    ids = set(free.values_list("pk", flat=True))
    chosen = np.array([i for i, pk in enumerate(found.ids) if pk in ids], dtype=np.int64)
    panel = found.panel.of(chosen)
    panel = replace(panel, outcome=found.said_outcome[chosen], context=np.zeros_like(panel.context))
    evidence = fitted.evidence(panel)
    rows = [
        Prediction(
            version=version,
            trajectory_id=found.ids[i],
            probs=evidence[panel.starts[place] : panel.starts[place + 1]].tolist(),
            rationales=[None] * int(panel.lengths[place]),
        )
        for place, i in enumerate(chosen)
    ]
    Prediction.objects.bulk_create(rows, batch_size=_AT_ONCE, ignore_conflicts=True)
    return len(rows)
