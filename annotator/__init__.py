"""Stepmark's web side and its rules: one package per stage of the pipeline."""

import os

# Before NumPy is loaded. Processes that share the cores lose more by waiting for each other's threads than a second
# thread brings: on a busy machine the intervals of 10,000 trajectories took 7 s of processor time instead of 0.3 s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Celery must know its app before anything sends a task.
from annotator.celery import app as celery_app

__all__ = ["celery_app"]
