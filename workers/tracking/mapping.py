"""What MLflow is told of a job: parameters, metrics and tags; pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from hikaku.jobs import JobState, Outcome
from hikaku.specs import Params, Snapshot, SnapshotEndpoint, SnapshotScorer
from hikaku.storage.jobs import EndpointProgress
from workers.tracking.measures import Measures
from workers.tracking.names import (
    PARAM_CHARACTERS,
    TAG_CHARACTERS,
    cut,
    distinct,
    key_part,
    key_parts,
)
from workers.tracking.table import FILE, Extent, written

JOB, ENDPOINT = "hikaku.job_id", "hikaku.endpoint"
"""Tags by which runs are found again."""

_ASCII_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""The variables that MLflow's page itself can fill in."""

_NAMED_PARAMS = frozenset(Params.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedJob:
    """An ended job, read once."""

    id: str
    name: str
    state: JobState
    round: int
    started_at: datetime
    finished_at: datetime
    url: str
    """Where people find it in Hikaku."""
    snapshot: Snapshot
    progress: Mapping[int, EndpointProgress]
    """By the endpoint's position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """What is written on a run; a metric that is missing is not known."""

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


def parent_content(job: TrackedJob) -> RunContent:
    """Describe the job as a whole."""
    parts = list(job.progress.values())
    endpoints = ", ".join(endpoint.name for endpoint in job.snapshot.endpoints)
    params = {**_shared_params(job.snapshot), "endpoints": endpoints}
    user_tags = zip(key_parts(job.snapshot.tags), job.snapshot.tags.values(), strict=True)
    tags = {
        **_shared_tags(job),
        "mlflow.note.content": f"[{job.id} in Hikaku]({job.url})",
        **{f"hikaku.tags.{name}": value for name, value in user_tags},
    }
    cells = _planned(job.snapshot) * len(job.snapshot.endpoints)
    return RunContent(
        params=_fitting(params, PARAM_CHARACTERS),
        metrics=_count_metrics(cells, parts),
        tags=_fitting(tags, TAG_CHARACTERS),
    )


def child_content(job: TrackedJob, position: int, measures: Measures, table: Extent) -> RunContent:
    """Describe one endpoint of a job, so that MLflow's pages compare it with the others."""
    endpoint = job.snapshot.endpoints[position]
    parts = [job.progress[position]] if position in job.progress else []
    tags = _shared_tags(job) | {
        ENDPOINT: endpoint.name,
        "hikaku.is_baseline": str(endpoint.name == job.snapshot.baseline).lower(),
        "hikaku.table_rows": f"{table.rows} of {table.cells} cells",
        "mlflow.loggedArtifacts": json.dumps([{"path": FILE, "type": "table"}]),
    }
    if _fits_prompt_page(job.snapshot):
        tags["mlflow.runSourceType"] = "PROMPT_ENGINEERING"
    return RunContent(
        params=_fitting(
            _shared_params(job.snapshot) | _endpoint_params(endpoint), PARAM_CHARACTERS
        ),
        metrics={
            **_count_metrics(_planned(job.snapshot), parts),
            **dict(_score_metrics(job.snapshot, measures)),
            **_known(
                {
                    "latency_p50_ms": measures.latency_p50_ms,
                    "latency_p95_ms": measures.latency_p95_ms,
                    "input_tokens": measures.input_tokens,
                    "output_tokens": measures.output_tokens,
                }
            ),
        },
        tags=_fitting(tags, TAG_CHARACTERS),
    )


def template_text(snapshot: Snapshot) -> str:
    """Write the whole prompt template as one text."""
    return written([(message.role, message.content) for message in snapshot.prompt.messages])


def template_json(snapshot: Snapshot) -> str:
    """Write the messages of the prompt template as JSON."""
    messages = [message.model_dump() for message in snapshot.prompt.messages]
    return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"


def _planned(snapshot: Snapshot) -> int:
    """Cells of one endpoint."""
    return snapshot.dataset.n_rows * snapshot.repeats


def _fits_prompt_page(snapshot: Snapshot) -> bool:
    """Whether MLflow's page can ask again: it sends one user message and knows ASCII names."""
    is_single = [message.role for message in snapshot.prompt.messages] == ["user"]
    return is_single and all(map(_ASCII_NAME.fullmatch, snapshot.prompt.variables))


def _shared_params(snapshot: Snapshot) -> dict[str, str]:
    prompt, rows = snapshot.prompt, snapshot.dataset
    given = {
        "prompt_template": template_text(snapshot),
        "prompt_name": prompt.name,
        "prompt_version": prompt.version,
        "prompt_id": prompt.id,
        "dataset": rows.name,
        "dataset_revision": rows.revision,
        "dataset_id": rows.id,
        "dataset_rows": rows.n_rows,
        "dataset_fingerprint": rows.fingerprint,
        "repeats": snapshot.repeats,
        "baseline": snapshot.baseline,
        "reuse": snapshot.reuse.value,
        "scorers": ", ".join(f"{s.name} v{s.version}" for s in snapshot.scorers) or None,
    }
    names = key_parts(scorer.name for scorer in snapshot.scorers)
    scorers = zip(names, snapshot.scorers, strict=True)
    return {key: str(value) for key, value in given.items() if value is not None} | {
        f"scorer.{name}": _scorer_param(scorer) for name, scorer in scorers
    }


def _scorer_param(scorer: SnapshotScorer) -> str:
    described = {"type": scorer.type, "version": scorer.version, "target": scorer.target}
    return json.dumps(described | {"options": scorer.options}, ensure_ascii=False)


def _endpoint_params(endpoint: SnapshotEndpoint) -> dict[str, str]:
    given = {
        "endpoint": endpoint.name,
        "endpoint_type": endpoint.endpoint_type,
        "endpoint_fingerprint": endpoint.fingerprint,
        "provider": endpoint.provider,
        "model": endpoint.model,
        # What MLflow's page reads of a run made with a prompt.
        "model_route": endpoint.name,
        "route_type": "mlflow_deployment_endpoint",
    }
    return {key: value for key, value in given.items() if value is not None} | _sampling(
        endpoint.params
    )


def _sampling(params: Params) -> dict[str, str]:
    given = params.model_dump(mode="json", exclude_none=True)
    named = {key: _param_value(value) for key, value in given.items() if key in _NAMED_PARAMS}
    if params.stop is not None:
        named["stop"] = f"[{', '.join(params.stop)}]"  # the form that MLflow's page reads
    others = {key: value for key, value in given.items() if key not in _NAMED_PARAMS}
    keys = distinct(f"param.{key_part(key)}" for key in others)
    return named | dict(zip(keys, map(_param_value, others.values()), strict=True))


def _param_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shared_tags(job: TrackedJob) -> dict[str, str]:
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


def _count_metrics(planned: int, parts: list[EndpointProgress]) -> dict[str, float]:
    counts = {outcome: sum(part.counts[outcome] for part in parts) for outcome in Outcome}
    unknown = sum(part.cost_unknown_calls for part in parts)
    cost = sum((part.cost_usd for part in parts), Decimal())
    metrics: dict[str, float] = {
        "cells/planned": planned,
        "cells/recorded": sum(counts.values()),
        **{f"cells/{outcome}": count for outcome, count in counts.items()},
        "calls": sum(part.calls for part in parts),
        "calls/repeated": sum(part.repeated_calls for part in parts),
        "calls/cost_unknown": unknown,
        "cells/reused": sum(part.reused for part in parts),
    }
    if not unknown:
        metrics["cost_usd"] = float(cost)
    elif cost:
        metrics["cost_usd/at_least"] = float(cost)
    return metrics


def _score_metrics(snapshot: Snapshot, measures: Measures) -> Iterator[tuple[str, float]]:
    names = key_parts(scorer.name for scorer in snapshot.scorers)
    for name, scores in zip(names, measures.scores, strict=True):
        yield f"{name}/coverage", scores.coverage
        if scores.estimate is None:
            continue
        yield f"{name}/mean", scores.estimate.value
        yield f"{name}/rows", scores.estimate.n
        limits = _known({"low": scores.estimate.low, "high": scores.estimate.high})
        yield from ((f"{name}/{limit}", value) for limit, value in limits.items())


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in values.items() if value is not None}


def _fitting(values: Mapping[str, str], characters: int) -> dict[str, str]:
    return {key: cut(value, characters) for key, value in values.items()}
