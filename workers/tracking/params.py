"""What decided a job's results, as MLflow's parameters."""

import json

from hikaku.specs import Params, Snapshot, SnapshotEndpoint, SnapshotScorer
from workers.tracking.names import distinct, key_part, key_parts
from workers.tracking.prompt import template_text

_SAMPLING = frozenset(Params.model_fields)


def of_job(snapshot: Snapshot) -> dict[str, str]:
    """Give what all endpoints of a job have in common."""
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
    keys = key_parts(scorer.name for scorer in snapshot.scorers)
    scorers = zip(keys, snapshot.scorers, strict=True)
    return {key: str(value) for key, value in given.items() if value is not None} | {
        f"scorer.{key}": _of_scorer(scorer) for key, scorer in scorers
    }


def of_endpoint(endpoint: SnapshotEndpoint) -> dict[str, str]:
    """Give what one endpoint of a job has for itself."""
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
    known = {key: value for key, value in given.items() if value is not None}
    return known | _of_sampling(endpoint.params)


def _of_scorer(scorer: SnapshotScorer) -> str:
    given = scorer.model_dump(mode="json", include={"type", "version", "target", "options"})
    return json.dumps(given, ensure_ascii=False)


def _of_sampling(params: Params) -> dict[str, str]:
    given = params.model_dump(mode="json", exclude_none=True)
    named = {key: _written(value) for key, value in given.items() if key in _SAMPLING}
    if params.stop is not None:
        named["stop"] = f"[{', '.join(params.stop)}]"  # the form that MLflow's page reads
    others = {key: value for key, value in given.items() if key not in _SAMPLING}
    keys = distinct(f"param.{key_part(key)}" for key in others)
    return named | dict(zip(keys, map(_written, others.values()), strict=True))


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
