"""Discriminative process reward models: all step scores of a trajectory from one forward pass.

`load` a model from a local directory, then `Scorer.score` trajectories; the other modules are its parts.
"""

from workers.prelabel.discriminative.engine import Scorer, load

__all__ = ["Scorer", "load"]
