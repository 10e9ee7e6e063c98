"""Stepmark's web side and its rules: one package per stage of the pipeline."""

# Celery must know its app before anything sends a task.
from annotator.celery import app as celery_app

__all__ = ["celery_app"]
