"""The door to MLflow: one job's runs, found by their tags or made, written again without harm.

MLflow is imported by the first job that is tracked: it takes seconds, and the scheduler must not
wait for it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from workers.tracking.errors import Untracked
from workers.tracking.mapping import ENDPOINT, JOB, RunContent, status_of
from workers.tracking.subject import TrackedJob

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # The outbox tries again and finds what was made; a POST repeated blindly would make it twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Nothing about a job is told to anybody but the tracking server.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Of MLflow's client, which reads them at each call; what the operator has set stays."""

NOW = "hikaku.now."
"""Before the name of a parameter that is not any more what the run's parameter says."""

_TEXTS, _NUMBERS = 8, 400
"""Parameters or tags, and metrics, in one request: MLflow takes 1 MB of it, escapes included."""

_Item = TypeVar("_Item")


@contextmanager
def _door(uri: str) -> Iterator[None]:
    try:
        yield
    except Untracked:
        raise
    except Exception as error:  # artifact stores behind MLflow raise errors of their own
        raise Untracked(_without_secrets(f"{type(error).__name__}: {error}", uri)) from error


def without_credentials(uri: str) -> str:
    """Give an address as it may be shown: without user and password."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def _without_secrets(message: str, uri: str) -> str:
    return message.replace(uri, without_credentials(uri))


class Runs:
    """The runs of one job in one experiment; opening it finds out whether MLflow is there."""

    def __init__(self, uri: str, experiment: str, job: TrackedJob) -> None:
        """Find the experiment, or make it, and the runs that earlier tries left.

        Raises:
            Untracked: MLflow is away, or the experiment was deleted.
        """
        self._uri = uri
        self._job = job
        with _door(uri):
            self._client = _client(uri)
            self._experiment = _experiment(self._client, experiment)
            self._found = _found(self._client, self._experiment, job.id)

    def parent(self) -> str:
        """Give the id of the job's run, under way again.

        Raises:
            Untracked: MLflow went away or refused.
        """
        with _door(self._uri):
            return self._opened(None, self._job.name, {})

    def child(self, endpoint: str, parent: str) -> str:
        """Give the id of the run of an endpoint, under way again.

        Raises:
            Untracked: MLflow went away or refused.
        """
        with _door(self._uri):
            tags = {ENDPOINT: endpoint, "mlflow.parentRunId": parent}
            return self._opened(endpoint, endpoint, tags)

    def write(self, run_id: str, content: RunContent, artifacts: Path) -> None:
        """Write a run whole and end it.

        The artifacts go first, and replace those of an earlier try: a run that names its table
        has all of it.

        Args:
            run_id: The run.
            content: Parameters, metrics and tags.
            artifacts: Folder whose files are the run's artifacts.

        Raises:
            Untracked: MLflow went away or refused; what was written is written again.
        """
        with _door(self._uri):
            self._client.log_artifacts(run_id, str(artifacts))
            self._log(run_id, content)
            status = status_of(self._job.state)
            self._client.set_terminated(run_id, status, _milliseconds(self._job.finished_at))

    def path(self, run_id: str) -> str:
        """Give the place of a run in MLflow's pages, from its root."""
        return f"/#/experiments/{self._experiment}/runs/{run_id}"

    def compare_url(self, parent: str) -> str:
        """Give the page that shows the tables of a run's children side by side.

        Relative, for a link inside MLflow. By default the page folds children away; in any order
        but that of time it does not.
        """
        children = quote(f"tags.`mlflow.parentRunId` = '{parent}'", safe="")
        order = quote("attributes.`run_name`", safe="")
        return (
            f"#/experiments/{self._experiment}/runs?compareRunsMode=ARTIFACT"
            f"&searchFilter={children}&orderByKey={order}&orderByAsc=true"
        )

    def _opened(self, endpoint: str | None, name: str, tags: dict[str, str]) -> str:
        run = self._found.get(endpoint)
        if run is not None:
            run_id = str(run.info.run_id)
            self._client.update_run(run_id, status="RUNNING", name=name)
            return run_id
        run = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(self._job.started_at),
            tags={JOB: self._job.id, "mlflow.source.name": "Hikaku", **tags},
            run_name=name,
        )
        self._found[endpoint] = run
        return str(run.info.run_id)

    def _log(self, run_id: str, content: RunContent) -> None:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

        before = self._client.get_run(run_id).data
        # MLflow never changes a parameter: what an extension of the job has changed is a tag.
        grown = {
            f"{NOW}{key}": value
            for key, value in content.params.items()
            if before.params.get(key, value) != value
        }
        new = {key: value for key, value in content.params.items() if key not in before.params}
        for params in _batches(new.items(), _TEXTS):
            self._client.log_batch(run_id, params=[Param(*param) for param in params])
        # One point per round: a second try writes the same point, a retried job the next one.
        at, step = _milliseconds(self._job.finished_at), self._job.round
        metrics = dict.fromkeys(before.metrics, nan) | content.metrics  # not known any more
        points = [Metric(key, value, at, step) for key, value in metrics.items()]
        for some in _batches(points, _NUMBERS):
            self._client.log_batch(run_id, metrics=some)
        for tags in _batches((content.tags | grown).items(), _TEXTS):
            self._client.log_batch(run_id, tags=[RunTag(*tag) for tag in tags])


def _client(uri: str) -> Any:  # noqa: ANN401  # MLflow's own types end in this module
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # noqa: PLC0415

    return MlflowClient(tracking_uri=uri)


def _experiment(client: Any, name: str) -> str:  # noqa: ANN401
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # somebody was faster
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise Untracked(
            f"the experiment {name!r} was deleted in MLflow; "
            "restore it, or name another one in HIKAKU_MLFLOW_EXPERIMENT"
        )
    return str(experiment.experiment_id)


def _found(client: Any, experiment: str, job_id: str) -> dict[str | None, Any]:  # noqa: ANN401
    """Find the runs of a job by endpoint; None stands for the job's own. The oldest one counts."""
    runs = client.search_runs([experiment], f"tags.`{JOB}` = '{job_id}'", max_results=1_000)
    oldest_last = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id), reverse=True)
    return {run.data.tags.get(ENDPOINT): run for run in oldest_last}


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)
