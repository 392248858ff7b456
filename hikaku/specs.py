"""What a person asks for (`JobSpec`) and what a job keeps of it for ever (`Snapshot`).

A `JobSpec` is the body of `POST /api/v1/jobs`, the YAML of `hikaku run` and what a schedule
posts at every slot. A `Snapshot` is the same with every name resolved: it decides the results.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from hikaku.names import Label, Name, ProjectName, Tags
from hikaku.numbers import FRACTION, WHOLE, Numbered, Time, Usd, WholeNumber
from hikaku.reserved import free_of_reserved

Row = dict[str, Any]
"""Variables of one row; values are any JSON."""

DEFAULT_PROJECT = "default"

MAX_INLINE_ROWS = 10_000
"""Rows in the body of one job; more belong in a dataset, which streams."""


class Closed(BaseModel):
    """A model that refuses keys it does not know and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Closed):
    """One message of a prompt template; `content` holds `{{variables}}`."""

    role: Literal["system", "user", "assistant"]
    content: str


class RequestPath(StrEnum):
    """Where a whole request of OpenAI's interface goes."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"
    RESPONSES = "/v1/responses"

    @property
    def endpoint_type(self) -> str:
        """The type of the endpoints that answer it."""
        match self:
            case RequestPath.COMPLETIONS:
                return "llm/v1/completions"
            case RequestPath.EMBEDDINGS:
                return "llm/v1/embeddings"
            case RequestPath.CHAT | RequestPath.RESPONSES:
                return "llm/v1/chat"


BODY_COLUMN = "body"
"""Column that holds the whole request of a row."""


class PromptRef(Closed):
    """A prompt template, written out or named; or none: every row holds a whole request."""

    template: str | None = Field(default=None, description="A single user message.")
    messages: tuple[Message, ...] | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, description="A prompt version, `pt_...`.")
    name: str | None = Field(default=None, description="A named prompt template.")
    version: Numbered | None = Field(default=None, description="With `name`; newest if left out.")
    request: RequestPath | None = Field(
        default=None,
        description="No template: the column `body` of every row is sent to this path as it stands,"
        " and the whole answer is kept.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "PromptRef":
        ways = ("template", "messages", "id", "name", "request")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of template, messages, id, name, request")
        if self.version is not None and self.name is None:
            raise ValueError("version goes with name")
        return self


class DatasetRef(Closed):
    """A dataset revision, by id or by name."""

    id: str | None = Field(default=None, description="A revision, `ds_...`.")
    name: str | None = None
    revision: Numbered | None = Field(default=None, description="With `name`; newest if left out.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "DatasetRef":
        if (self.id is None) == (self.name is None):
            raise ValueError("give exactly one of id, name")
        if self.revision is not None and self.name is None:
            raise ValueError("revision goes with name")
        return self


class Params(BaseModel):
    """Sampling parameters. Named ones are checked; others are passed to the endpoint as they are.

    A provider that cannot honour one exactly refuses it by name. Those that say what is asked of
    whom (`messages`, `prompt`, `model`, `stream` and their like) are refused.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    temperature: Annotated[float, Field(ge=0, le=100), FRACTION] | None = None
    top_p: Annotated[float, Field(gt=0, le=1), FRACTION] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    stop: tuple[str, ...] | None = Field(default=None, max_length=16)
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), WHOLE] | None = None


AskedParams = Annotated[Params, AfterValidator(free_of_reserved)]
"""Parameters of a request; what was recorded before some names were reserved stays readable."""


class EndpointRef(Closed):
    """An endpoint of the gateway, with parameters of its own on top of the job's."""

    name: Name
    params: AskedParams = Params()


class ScorerSpec(BaseModel):
    """A scorer and its options; which options there are is the scorer's own business."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Name
    name: Label | None = Field(
        default=None, description="How results call it; the type if left out."
    )
    target: str | None = Field(
        default=None, description="Column with the expected answer; `expected` if left out."
    )


class Reuse(StrEnum):
    """Whether a job may answer from recorded completions, and lets later jobs do so."""

    OFF = "off"
    READ = "read"
    WRITE = "write"
    ON = "on"  #: Both.

    @property
    def reads(self) -> bool:
        """Whether recorded completions may answer."""
        return self in {Reuse.READ, Reuse.ON}

    @property
    def writes(self) -> bool:
        """Whether later jobs may be answered from this one."""
        return self in {Reuse.WRITE, Reuse.ON}


class Execution(StrEnum):
    """How the calls of a job are made."""

    ONLINE = "online"  #: One by one.
    BATCH = "batch"  #: By the vendor's own batch interface, at its price; what is left, online.
    AUTO = "auto"  #: As `batch` where the endpoint has one and the deadline leaves an hour.


class JobSpec(Closed):
    """A batch evaluation job: prompt template x rows x endpoints, scored."""

    name: Label | None = None
    project: ProjectName = Field(
        default=DEFAULT_PROJECT,
        description="Projects share the workers fairly, by their weights; jobs share a project's.",
    )
    prompt: PromptRef
    rows: tuple[Row, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_INLINE_ROWS,
        description="A row is known by its `id`, else by a hash of its content. Rows may share one:"
        " a comparison of jobs then pairs the nth with the nth.",
    )
    dataset: DatasetRef | None = None
    endpoints: tuple[EndpointRef | Name, ...] = Field(min_length=1, max_length=64)
    params: AskedParams = Params()
    scorers: tuple[ScorerSpec, ...] = Field(default=(), max_length=32)
    repeats: WholeNumber = Field(default=1, ge=1, le=100)
    baseline: Name | None = Field(
        default=None, description="Endpoint the others are held against; the first if left out."
    )
    reuse: Reuse = Reuse.WRITE
    priority: WholeNumber = Field(
        default=5, ge=0, le=9, description="Within its project; 0 goes first."
    )
    budget_usd: Usd | None = Field(
        default=None,
        description="The most that its calls may cost; at that it pauses, to be topped up.",
    )
    execution: Execution = Field(
        default=Execution.ONLINE,
        description="`batch` and `auto` use the vendor's batch interface (`batch_api`). With"
        " `reuse: on` equal cells of one batch are bought once; those of two batches at once, or"
        " asked online while they lie in one, are bought twice.",
    )
    deadline: Time | None = Field(
        default=None,
        description="With `batch` and `auto`: what the vendor has not answered in time is asked"
        " online before; 26 hours from now if left out.",
    )
    tags: Tags = Field(default_factory=dict)

    @model_validator(mode="after")
    def _batches_are_plain(self) -> "JobSpec":
        if self.execution is Execution.ONLINE and self.deadline is not None:
            raise ValueError("deadline goes with execution batch or auto")
        if self.execution is Execution.BATCH and self.prompt.request is not None:
            raise ValueError("execution batch takes prompts, not whole requests")
        if self.execution is Execution.BATCH and self.budget_usd is not None:
            raise ValueError("a budget holds online calls only: leave out budget_usd or execution")
        return self

    @model_validator(mode="after")
    def _rows_xor_dataset(self) -> "JobSpec":
        if (self.rows is None) == (self.dataset is None):
            raise ValueError("give exactly one of rows, dataset")
        return self

    @model_validator(mode="after")
    def _requests_are_whole(self) -> "JobSpec":
        if self.prompt.request is None:
            return self
        of_endpoints = [ref.params for ref in self.endpoints if isinstance(ref, EndpointRef)]
        if any(params.model_dump(exclude_none=True) for params in (self.params, *of_endpoints)):
            raise ValueError("with prompt.request, parameters stand in each row's `body`")
        if self.reuse.reads:
            raise ValueError("whole requests are always asked anew: leave `reuse` out")
        return self


class Extension(Closed):
    """What is added to a job that is there; nothing that was asked is asked again."""

    rows: tuple[Row, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_INLINE_ROWS,
        description="Behind the rows it has.",
    )
    dataset: DatasetRef | None = Field(
        default=None, description="A revision that begins with the rows it has."
    )
    endpoints: tuple[EndpointRef | Name, ...] = Field(
        default=(),
        max_length=64,
        description="Behind the endpoints it has, with the parameters that all of these share.",
    )
    scorers: tuple[ScorerSpec, ...] = Field(
        default=(), max_length=32, description="Judge also what is recorded, without any call."
    )
    repeats: Annotated[int, Field(ge=1, le=100), WHOLE] | None = Field(
        default=None, description="How many it is to have."
    )

    @model_validator(mode="after")
    def _something(self) -> "Extension":
        if self.rows is not None and self.dataset is not None:
            raise ValueError("give rows or dataset, not both")
        given = (self.rows, self.dataset, self.endpoints, self.scorers, self.repeats)
        if not any(given):
            raise ValueError("give at least one of rows, dataset, endpoints, scorers, repeats")
        return self


class EndpointIdentity(Closed):
    """What the gateway says of an endpoint when a job is submitted; no secrets in it."""

    name: Name
    endpoint_type: Literal["llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"]
    provider: str
    model: str | None
    fingerprint: str
    """Hash over provider, model and settings: equal fingerprints give comparable completions."""
    settings: dict[str, Any] = {}
    input_usd_per_million_tokens: Decimal | None = None
    output_usd_per_million_tokens: Decimal | None = None
    cached_input_usd_per_million_tokens: Decimal | None = None
    """Of input read from the provider's cache; None: as other input."""
    price_source: str | None = None
    """The gateway's file, or version, page and month of its table; None: no price is known."""
    max_output_tokens: int | None = None
    """The most that the model writes in one answer, where the table of prices knows it."""
    batch_price_factor: Decimal | None = None
    """What a call costs by the vendor's batch interface beside an online one; None: no such."""


class SnapshotEndpoint(EndpointIdentity):
    """An endpoint of a job, with its parameters merged."""

    params: Params


class SnapshotScorer(Closed):
    """A scorer of a job, with its defaults written out."""

    type: Name
    name: Name
    version: int
    target: str | None
    options: dict[str, Any]


class SnapshotDataset(Closed):
    """Which rows a job runs."""

    id: str
    name: str | None
    revision: int | None
    n_rows: int
    fingerprint: str


class SnapshotPrompt(Closed):
    """Which prompt template a job renders."""

    id: str | None
    name: str | None
    version: int | None
    messages: tuple[Message, ...]
    variables: tuple[str, ...]
    request: RequestPath | None = None
    """Set when each row holds a whole request, and there is no template."""


class Growth(Closed):
    """One extension of a job: how large it became, and by what."""

    at: AwareDatetime
    n_rows: int
    n_endpoints: int
    n_scorers: int
    repeats: int
    dataset: str
    """Id of the revision from then on; the rows of before come first in it."""


class Snapshot(Closed):
    """All that decides a job's results; it grows when the job is extended, and never changes."""

    project: ProjectName = DEFAULT_PROJECT
    prompt: SnapshotPrompt
    dataset: SnapshotDataset
    endpoints: tuple[SnapshotEndpoint, ...]
    scorers: tuple[SnapshotScorer, ...]
    repeats: int
    baseline: Name
    reuse: Reuse
    tags: dict[str, str]
    execution: Execution = Execution.ONLINE
    rescored_from: str | None = None
    """The job whose completions these are: nothing is asked, only judged anew."""
    extensions: tuple[Growth, ...] = ()
    """Oldest first. What was there before keeps its position, so results keep their meaning."""
