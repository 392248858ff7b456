"""The way in: a connection to one Hikaku server."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote

import httpx2
from typing_extensions import override

from hikaku_client import jobs as job_module
from hikaku_client import rows as row_sources
from hikaku_client import servers, words
from hikaku_client.comparison import Comparison
from hikaku_client.connection import Clock, Connection
from hikaku_client.datasets import Datasets
from hikaku_client.errors import InvalidRequest, NotFound
from hikaku_client.jobs import Job
from hikaku_client.rows import Rows
from hikaku_client.schedules import Schedules
from hikaku_client.wire import (
    BudgetAnswer,
    ChatAnswer,
    ConfigAnswer,
    DatasetAnswer,
    EndpointAnswer,
    EndpointsAnswer,
    EstimateAnswer,
    JobAnswer,
    Json,
    UsageAnswer,
)

Prompt = str | Mapping[str, object] | Sequence[Mapping[str, str]]
"""A template, its messages, or a stored prompt: {"id": ...} or {"name": ..., "version": ...}."""

Source = Rows | DatasetAnswer | Path | str
"""Rows, a dataset from `datasets.upload`, a file to upload, or a dataset's id or name."""

_PILOT_LOOK = 2
"""Seconds between two looks at a pilot."""


class Client:
    """A connection to a Hikaku server.

    Args:
        url: The server; else `HIKAKU_URL`, `./.hikaku/stack.json`, `http://127.0.0.1:8420`.
        api_key: Its key; else `HIKAKU_API_KEY`.
        transport: What carries the requests; tests hand in an `httpx2.MockTransport`.
        language: `en` or `ja` for what is said to people; else the locale's.
        clock: Time; tests hand in their own.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        *,
        language: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.server = servers.find(url, api_key, environ=os.environ, folder=Path.cwd())
        self._words = words.choose(language, os.environ)
        self.clock = clock or Clock()
        self._connection = Connection(self.server, transport=transport, clock=self.clock)
        self.datasets = Datasets(self._connection)
        self.schedules = Schedules(self._connection)

    def evaluate(
        self,
        rows: Source,
        *,
        prompt: Prompt,
        endpoints: Sequence[str | Mapping[str, object]],
        params: Mapping[str, object] | None = None,
        scorers: Sequence[str | Mapping[str, object]] = (),
        repeats: int = 1,
        name: str | None = None,
        project: str | None = None,
        baseline: str | None = None,
        reuse: str | None = None,
        priority: int | None = None,
        budget_usd: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Job:
        """Start a batch evaluation: every row, through the prompt, to every endpoint, scored.

        Args:
            rows: More than 10,000, or more than 4 MiB, go up as a dataset first, streamed.
            prompt: A template with `{{variables}}`, a list of messages, or a stored prompt.
            endpoints: Names, or `{"name": ..., "params": {...}}`.
            params: Sampling parameters for all of them, such as `{"temperature": 0}`.
            scorers: Types such as `exact_match`, or `{"type": ..., options}`.
            repeats: How often each row is asked of each endpoint.
            name: What lists call the job.
            project: With whose jobs it shares the workers; `default` if left out.
            baseline: Endpoint the others are held against; the first if left out.
            reuse: off, read, write or on: whether recorded completions answer, and are kept.
            priority: 0 goes first, 9 last.
            budget_usd: The most that its calls may cost; at that it pauses.
            tags: Kept with the job.

        Returns:
            The job, just started: `.wait()`, then `.results()` or `.compare()`.

        Raises:
            InvalidRequest: Something is missing or wrong; nothing was started.
        """
        spec = {
            "name": name,
            "project": project,
            "prompt": _prompt(prompt),
            "endpoints": list(endpoints),
            "params": params,
            "scorers": [_scorer(scorer) for scorer in scorers],
            "repeats": repeats,
            "baseline": baseline,
            "reuse": reuse,
            "priority": priority,
            "budget_usd": None if budget_usd is None else str(budget_usd),
            "tags": tags,
        }
        given = {key: value for key, value in spec.items() if value is not None}
        return self.submit(given | self._rows(rows, name))

    def submit(self, spec: Mapping[str, object]) -> Job:
        """Start the job that a JobSpec describes; a lost answer does not start it twice."""
        answer = self._connection.post("/jobs", cast("Json", dict(spec)), once=True)
        return self._job(answer)

    def estimate(self, spec: Mapping[str, object]) -> EstimateAnswer:
        """Ask about 20 rows of each endpoint, and estimate what the job would need.

        It is no job yet: `submit` the same to run it, and `job.answer["estimate"]` holds what
        came against what was foreseen.
        """
        body = cast("Json", dict(spec))
        query = {"preflight": "true", "wait_seconds": str(_PILOT_LOOK)}
        told = cast("EstimateAnswer", self._connection.post("/jobs", body, query=query, once=True))
        while not told["is_complete"]:
            pilot = told["pilot"]["job"]
            if self.job(pilot).state == "paused":
                return told
            self.clock.sleep(_PILOT_LOOK)
            told = cast("EstimateAnswer", self._connection.get(f"/jobs/{pilot}/estimate"))
        return told

    def budget(self, project: str, limit: float | None = None) -> BudgetAnswer:
        """Tell the budget of a project; set it first if a limit in USD is given."""
        path = _budget_path(project)
        if limit is not None:
            return cast("BudgetAnswer", self._connection.put(path, {"limit_usd": str(limit)}))
        return cast("BudgetAnswer", self._connection.get(path))

    def remove_budget(self, project: str) -> None:
        """Take the budget of a project away."""
        self._connection.delete(_budget_path(project))

    def job(self, job_id: str) -> Job:
        """Find a job again by its `job_...`.

        Raises:
            NotFound: There is none.
        """
        if not job_id or "/" in job_id:
            raise NotFound(f"there is no job {job_id!r}")
        return self._job(self._connection.get(f"/jobs/{job_id}"))

    def jobs(self, *, state: str | None = None, project: str | None = None) -> Iterator[Job]:
        """Go through the jobs, newest first; those in a state or of a project alone if named."""
        query = {"state": state, "project": project}
        return (self._job(item) for item in self._connection.pages("/jobs", query))

    def compare(
        self, jobs: Job | str | Sequence[Job | str], baseline: str | None = None
    ) -> Comparison:
        """Hold the endpoints of jobs against a baseline, row by row.

        Args:
            jobs: One or several, as jobs or ids.
            baseline: An endpoint, or `JOB:ENDPOINT`; the first job's own if left out.
        """
        several = [jobs] if isinstance(jobs, Job | str) else jobs
        ids = [job.id if isinstance(job, Job) else job for job in several]
        return job_module.compare(self._connection, ids, baseline, self._words)

    def chat(
        self,
        endpoint: str,
        messages: Sequence[Mapping[str, str]] | None = None,
        *,
        prompt: str | None = None,
        variables: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> ChatAnswer:
        """Ask an endpoint and wait for its answer.

        Args:
            endpoint: Whom.
            messages: What, as messages; or else
            prompt: what, as a template, with
            variables: the values of its `{{variables}}`.
            params: Sampling parameters.
        """
        if (messages is None) == (prompt is None):
            raise InvalidRequest("give either messages or prompt")
        body: dict[str, object] = {"endpoint": endpoint, "params": dict(params or {})}
        if messages is not None:
            body["messages"] = [dict(message) for message in messages]
        else:
            body |= {"template": prompt, "variables": dict(variables or {})}
        return cast("ChatAnswer", self._connection.post("/chat", cast("Json", body)))

    def endpoints(self) -> list[EndpointAnswer]:
        """Say which endpoints there are, and whether they can be asked."""
        return [cast("EndpointAnswer", item) for item in self._connection.pages("/endpoints")]

    def endpoint_config(self) -> ConfigAnswer | None:
        """Say which file the endpoints come from, and what is wrong with it."""
        answer = cast("EndpointsAnswer", self._connection.get("/endpoints"))
        return answer.get("config")

    def reload_endpoints(self) -> EndpointsAnswer:
        """Have the server read the gateway's file now.

        Raises:
            InvalidRequest: The file cannot be used; what was in use stays so.
        """
        return cast("EndpointsAnswer", self._connection.post("/endpoints/reload", {}))

    def usage(
        self, *, since: str | None = None, until: str | None = None, by: str = "endpoint"
    ) -> UsageAnswer:
        """Sum up what models were used for.

        Args:
            since: RFC 3339 time; None: 30 days before `until`.
            until: RFC 3339 time; None: now.
            by: `endpoint`, `caller` or `day`.
        """
        query = {"from": since, "to": until, "group_by": by}
        given = {name: value for name, value in query.items() if value is not None}
        return cast("UsageAnswer", self._connection.get("/usage", given))

    def close(self) -> None:
        """Give the connections back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @override
    def __repr__(self) -> str:
        return f"<Client of {self.server.url}>"

    def _job(self, answer: Json) -> Job:
        return Job(self._connection, cast("JobAnswer", answer), self._words)

    def _rows(self, source: Source, name: str | None) -> dict[str, object]:
        """The part of a JobSpec that says which rows, uploading them where they are many."""
        match source:
            case str():
                return {"dataset": {"id" if source.startswith("ds_") else "name": source}}
            case Path():
                return {"dataset": {"id": self.datasets.upload(source)["id"]}}
            case dict():
                return {"dataset": {"id": source["id"]}}
            case _:
                return self._inline_or_upload(source, name)

    def _inline_or_upload(self, rows: Rows, name: str | None) -> dict[str, object]:
        inline, many = row_sources.head(row_sources.as_json(rows))
        if inline:
            return {"rows": inline}
        if many is None:
            raise InvalidRequest("there are no rows")
        dataset = self.datasets.upload(many, name=name)
        return {"dataset": {"id": dataset["id"]}}


def _budget_path(project: str) -> str:
    if not project.strip() or "/" in project:
        raise InvalidRequest(f"{project!r} is no project: give its name, which is without `/`")
    return f"/projects/{quote(project, safe='')}/budget"


def _prompt(prompt: Prompt) -> object:
    match prompt:
        case str():
            return {"template": prompt}
        case Mapping():
            return dict(prompt)
        case _:
            return {"messages": [dict(message) for message in prompt]}


def _scorer(scorer: str | Mapping[str, object]) -> object:
    return {"type": scorer} if isinstance(scorer, str) else dict(scorer)
