"""What MLflow is told of a job: parameters, metrics and tags; pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hikaku.jobs import JobState
from hikaku.specs import Snapshot
from workers.tracking import metrics, params
from workers.tracking.names import PARAM_CHARACTERS, TAG_CHARACTERS, key_parts
from workers.tracking.prompt import template_text
from workers.tracking.subject import TrackedJob
from workers.tracking.table import FILE

JOB, ENDPOINT = "hikaku.job_id", "hikaku.endpoint"
"""Tags by which runs are found again."""

_ASCII_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""The variables that MLflow's page can fill in by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """What is written on a run."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def status_of(state: JobState) -> str:
    """Give MLflow's word for how a job ended."""
    match state:
        case JobState.FAILED:
            return "FAILED"
        case JobState.CANCELLED:
            return "KILLED"
        case _:
            return "FINISHED"


def parent_content(job: TrackedJob, *, compare_url: str) -> RunContent:
    """Describe the job as a whole.

    Args:
        job: The job.
        compare_url: MLflow's page that shows the tables of its endpoints side by side.
    """
    endpoints = ", ".join(endpoint.name for endpoint in job.snapshot.endpoints)
    named = zip(key_parts(job.snapshot.tags), job.snapshot.tags.values(), strict=True)
    note = f"[Endpoints side by side]({compare_url}) · [{job.id} in Hikaku]({job.url})"
    tags = {
        **_tags(job),
        "mlflow.note.content": note,
        **{f"hikaku.tags.{key}": value for key, value in named},
    }
    return RunContent(
        params=_cut(params.of_job(job.snapshot) | {"endpoints": endpoints}, PARAM_CHARACTERS),
        metrics=metrics.of_job(job),
        tags=_cut(tags, TAG_CHARACTERS),
    )


def child_content(job: TrackedJob, position: int, *, table_rows: int) -> RunContent:
    """Describe one endpoint of a job, so that MLflow's pages compare it with the others.

    Args:
        job: The job.
        position: The endpoint's.
        table_rows: Cells in its table.
    """
    endpoint, cells = job.snapshot.endpoints[position], sum(job.columns[position].outcomes.values())
    tags = {
        **_tags(job),
        ENDPOINT: endpoint.name,
        "hikaku.is_baseline": str(endpoint.name == job.snapshot.baseline).lower(),
        "hikaku.table_rows": f"{table_rows} of {cells} cells",
        "mlflow.loggedArtifacts": json.dumps([{"path": FILE, "type": "table"}]),
        "mlflow.runType": "evaluation",  # MLflow's list opens the parent of such a run
        **_look(job.snapshot),
    }
    given = params.of_job(job.snapshot) | params.of_endpoint(endpoint)
    return RunContent(
        params=_cut(given, PARAM_CHARACTERS),
        metrics=metrics.of_endpoint(job, position),
        tags=_cut(tags, TAG_CHARACTERS),
    )


def _look(snapshot: Snapshot) -> dict[str, str]:
    """Give the look that offers to ask again, where MLflow's page can: it knows one message."""
    is_single = [message.role for message in snapshot.prompt.messages] == ["user"]
    if is_single and all(map(_ASCII_NAME.fullmatch, snapshot.prompt.variables)):
        return {"mlflow.runSourceType": "PROMPT_ENGINEERING"}
    return {}


def _tags(job: TrackedJob) -> dict[str, str]:
    tags = {
        JOB: job.id,
        "hikaku.url": job.url,
        "hikaku.state": job.state.value,
        "hikaku.round": str(job.round),
    }
    whole = len(template_text(job.snapshot))
    if whole > PARAM_CHARACTERS:
        tags["hikaku.prompt_template_cut"] = (
            f"the parameter prompt_template holds the first {PARAM_CHARACTERS} of {whole} "
            "characters; prompt.txt and prompt.json hold all of them"
        )
    return tags


def _cut(values: Mapping[str, str], characters: int) -> dict[str, str]:
    return {key: value[:characters] for key, value in values.items()}
