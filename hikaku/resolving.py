"""Resolves the names of a request and checks what they mean; nothing but inline rows is stored."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from hikaku import scoring, templates
from hikaku.errors import Fault, InvalidInput, NotFound, UnknownName
from hikaku.specs import (
    BODY_COLUMN,
    DatasetRef,
    EndpointIdentity,
    EndpointRef,
    Execution,
    JobSpec,
    Params,
    PromptRef,
    RequestPath,
    Reuse,
    ScorerSpec,
    Snapshot,
    SnapshotEndpoint,
    SnapshotPrompt,
    SnapshotScorer,
)
from hikaku.storage import datasets, prompts
from hikaku.storage.datasets import Revision

MAX_CELLS = 10_000_000
"""Cells of one job; more would make one job's planning everybody's wait."""

DEFAULT_TARGET = "expected"
"""Column with the expected answer when a scorer names none."""

_SCORER_KEYS = frozenset({"type", "name", "target"})


def resolve(
    session: Session, spec: JobSpec, endpoints: Mapping[str, EndpointIdentity]
) -> tuple[Snapshot, Revision]:
    """Resolve every name and check everything that decides the results; stores inline rows alone.

    Raises:
        InvalidInput: Something in the request cannot be done; its faults say where and why.
    """
    prompt = _prompt(session, spec.prompt)
    chosen = resolve_endpoints(
        spec.endpoints, endpoints, params=spec.params, request=spec.prompt.request
    )
    scorers = resolve_scorers(spec.scorers)
    baseline = _baseline(spec.baseline, chosen)
    revision = _rows(session, spec)
    check_variables(prompt, scorers, revision)
    check_size(revision.n_rows, len(chosen), spec.repeats)
    snapshot = Snapshot(
        project=spec.project,
        prompt=prompt,
        dataset=datasets.snapshot(session, revision),
        endpoints=chosen,
        scorers=scorers,
        repeats=spec.repeats,
        baseline=baseline,
        reuse=Reuse.OFF if spec.prompt.request else spec.reuse,
        tags=spec.tags,
        execution=spec.execution,
    )
    check_execution(snapshot.execution, snapshot.endpoints)
    return snapshot, revision


def check_execution(execution: Execution, endpoints: Sequence[SnapshotEndpoint]) -> None:
    """Refuse to hand over what no vendor takes.

    Raises:
        InvalidInput: An endpoint has no batch interface, and the job insists on it.
    """
    if execution is not Execution.BATCH:
        return
    faults = [
        Fault(
            pointer=f"/endpoints/{position}",
            message=f"endpoint {endpoint.name!r} has no batch interface: set `batch_api: true` if"
            " its vendor has one (OpenAI's or Anthropic's), or use execution `auto`",
        )
        for position, endpoint in enumerate(endpoints)
        if endpoint.batch_price_factor is None
    ]
    if faults:
        raise InvalidInput("the job cannot be handed over", faults=faults)


def _prompt(session: Session, ref: PromptRef) -> SnapshotPrompt:
    if ref.id is not None or ref.name is not None:
        return _stored_prompt(session, ref)
    if ref.request is not None:
        return SnapshotPrompt(
            id=None, name=None, version=None, messages=(), variables=(BODY_COLUMN,),
            request=ref.request,
        )  # fmt: skip
    template = _parsed(ref)
    return SnapshotPrompt(
        id=None,
        name=None,
        version=None,
        messages=tuple({"role": m.role, "content": m.content} for m in template.messages),
        variables=template.variables,
    )


def _parsed(ref: PromptRef) -> templates.Template:
    given = [(message.role, message.content) for message in ref.messages or ()]
    try:
        return templates.parse(given or [("user", ref.template or "")])
    except InvalidInput as error:
        faults = [
            Fault(
                pointer=f"/prompt{fault.pointer}" if given else "/prompt/template",
                message=fault.message,
            )
            for fault in error.faults
        ]
        raise InvalidInput(str(error), faults=faults) from error


def _stored_prompt(session: Session, ref: PromptRef) -> SnapshotPrompt:
    try:
        return prompts.snapshot(session, id=ref.id, name=ref.name, version=ref.version)
    except NotFound as error:
        raise _unknown("/prompt", str(error)) from error


def resolve_endpoints(
    refs: Sequence[EndpointRef | str],
    known: Mapping[str, EndpointIdentity],
    *,
    params: Params,
    request: RequestPath | None,
) -> tuple[SnapshotEndpoint, ...]:
    """Find the endpoints of a request among the gateway's.

    Args:
        refs: As they are named, at `/endpoints`.
        known: The gateway's, by name.
        params: Of all of them; each may have others on top.
        request: Where whole requests go, if the job has no template.

    Raises:
        UnknownName: One is not there, cannot answer the job, or is named twice.
    """
    faults: list[Fault] = []
    chosen: dict[str, SnapshotEndpoint] = {}
    for position, given in enumerate(refs):
        ref = given if isinstance(given, EndpointRef) else EndpointRef(name=given)
        pointer = f"/endpoints/{position}"
        identity = known.get(ref.name)
        if identity is None:
            names = ", ".join(sorted(known)) or "none"
            faults.append(
                Fault(
                    pointer=pointer,
                    message=f"there is no endpoint {ref.name!r}; there are: {names}",
                )
            )
        elif (message := _unfit(request, identity)) is not None:
            faults.append(Fault(pointer=pointer, message=message))
        elif ref.name in chosen:
            faults.append(Fault(pointer=pointer, message=f"endpoint {ref.name!r} is named twice"))
        else:
            merged = _merged(params, ref.params)
            chosen[ref.name] = SnapshotEndpoint(**identity.model_dump(), params=merged)
    if faults:
        raise UnknownName("the job cannot run on these endpoints", faults=faults)
    return tuple(chosen.values())


def _unfit(request: RequestPath | None, endpoint: EndpointIdentity) -> str | None:
    """Say why an endpoint cannot answer a job's prompts."""
    if request is not None and endpoint.endpoint_type != request.endpoint_type:
        found, wanted = endpoint.endpoint_type, request.endpoint_type
        return f"endpoint {endpoint.name!r} is {found}; {request} needs {wanted}"
    if request is None and endpoint.endpoint_type == "llm/v1/embeddings":
        return f"endpoint {endpoint.name!r} makes embeddings; a job needs chat or completions"
    return None


def _merged(general: Params, special: Params) -> Params:
    given = general.model_dump(exclude_none=True) | special.model_dump(exclude_none=True)
    return Params.model_validate(given)


def resolve_scorers(specs: Sequence[ScorerSpec]) -> tuple[SnapshotScorer, ...]:
    """Build every scorer once, and write its defaults out.

    Raises:
        InvalidInput: One is unknown or wrong, or two bear one name.
    """
    named: dict[str, SnapshotScorer] = {}
    for position, spec in enumerate(specs):
        options: dict[str, Any] = {
            key: value for key, value in spec.model_dump().items() if key not in _SCORER_KEYS
        }
        pointer = f"/scorers/{position}"
        scorer = _built(pointer, spec.type, options)
        name = spec.name or spec.type
        if name in named:
            raise InvalidInput(
                "two scorers bear one name",
                faults=[
                    Fault(pointer=f"{pointer}/name", message=f"{name!r} is taken; give a `name`")
                ],
            )
        named[name] = SnapshotScorer(
            type=spec.type,
            name=name,
            version=scorer.version,
            target=spec.target or DEFAULT_TARGET,
            options=scorer.options,
        )
    return tuple(named.values())


def _built(pointer: str, type_: str, options: Mapping[str, Any]) -> scoring.Scorer:
    try:
        return scoring.build(type_, options)
    except InvalidInput as error:
        inner = error.faults or (Fault(pointer="", message=str(error)),)
        faults = [Fault(pointer=pointer + f.pointer, message=f.message) for f in inner]
        raise InvalidInput(str(error), faults=faults) from error


def _baseline(name: str | None, chosen: tuple[SnapshotEndpoint, ...]) -> str:
    names = [endpoint.name for endpoint in chosen]
    if name is None:
        return names[0]
    if name not in names:
        raise _unknown(
            "/baseline", f"{name!r} is not among the job's endpoints: {', '.join(names)}"
        )
    return name


def _rows(session: Session, spec: JobSpec) -> Revision:
    if spec.rows is not None:
        return datasets.add_inline(session, spec.rows)
    return resolve_dataset(session, spec.dataset or DatasetRef(id=""))


def resolve_dataset(session: Session, ref: DatasetRef) -> Revision:
    """Find the dataset revision that a request names, at `/dataset`.

    Raises:
        UnknownName: There is none.
    """
    try:
        if ref.id is not None:
            return datasets.get(session, ref.id)
        return datasets.by_name(session, ref.name or "", ref.revision)
    except NotFound as error:
        raise _unknown("/dataset", str(error)) from error


def check_variables(
    prompt: SnapshotPrompt, scorers: tuple[SnapshotScorer, ...], revision: Revision
) -> None:
    """Refuse rows that lack a column which the template or a scorer needs.

    Raises:
        InvalidInput: Names the columns there are.
    """
    columns = ", ".join(revision.columns) or "none"
    faults = [
        Fault(
            pointer="/prompt",
            message=f"no row has a value for {{{{{variable}}}}}; columns: {columns}",
        )
        for variable in prompt.variables
        if variable not in revision.columns
    ]
    faults += [
        Fault(
            pointer=f"/scorers/{position}/target",
            message=f"no row has the column {scorer.target!r}; columns: {columns}",
        )
        for position, scorer in enumerate(scorers)
        if scorer.target not in revision.columns
        and scoring.build(scorer.type, scorer.options).needs_target
    ]
    if faults:
        raise InvalidInput("the rows do not fit the job", faults=faults)


def check_size(n_rows: int, n_endpoints: int, repeats: int) -> None:
    """Refuse more cells than one job may have.

    Raises:
        InvalidInput: There are more than `MAX_CELLS`.
    """
    n_cells = n_rows * n_endpoints * repeats
    if n_cells > MAX_CELLS:
        grid = f"{n_rows:,} rows x {n_endpoints} endpoints x {repeats} repeats"
        message = f"{grid} are {n_cells:,} cells; a job has at most {MAX_CELLS:,}: split it"
        raise InvalidInput(message, faults=[Fault(pointer="/repeats", message=message)])


def _unknown(pointer: str, message: str) -> UnknownName:
    return UnknownName(message, faults=[Fault(pointer=pointer, message=message)])
