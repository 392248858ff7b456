"""Writes ended jobs to MLflow: a run per job, under it a run per endpoint, each written once."""

from workers.tracking.tracker import Tracker

__all__ = ["Tracker"]
