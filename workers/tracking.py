"""Writes ended jobs to MLflow."""

from hikaku.settings import Settings
from hikaku.storage.connection import Sessions


class Tracker:
    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._settings = settings

    def track(self, job_id: str) -> None:
        return
