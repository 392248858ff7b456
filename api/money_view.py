"""How a job's money looks from outside: its budget, its ledger, and its estimate."""

from decimal import Decimal

from pydantic import Field

from api.wire import JOB_EXAMPLE, Out
from hikaku.storage.budgets import Account, Funds
from hikaku.storage.jobs import Progress
from hikaku.storage.standings import Standing


class BudgetOut(Out):
    """What may be spent, what has been, and what is set aside for calls in hand."""

    limit_usd: str = Field(examples=["25"])
    spent_usd: str = Field(description="Settled, and unknown costs at their most.")
    reserved_usd: str = Field(description="Set aside for calls that are not settled.")
    left_usd: str = Field(description="What may still be reserved.")


class LedgerOut(Out):
    """The calls of a job by where they stand."""

    reserved: int = Field(description="Cells in a worker's hands: reserved, or being asked.")
    settled: int = Field(description="Calls whose end is known.")
    unknown: int = Field(description="Calls that a worker died in: perhaps billed, and repeated.")
    settled_usd: str | None = Field(description="null when no price is known.")
    unknown_usd: str | None = Field(
        description="The most that calls of unknown cost can have cost; null without a budget."
    )
    reserved_usd: str | None = Field(description="null without a budget.")


class CountsBetween(Out):
    """A count, and where it lies at the `confidence` of its estimate."""

    value: int
    low: int
    high: int


class SecondsBetween(Out):
    """Seconds, and where they lie."""

    value: float
    low: float
    high: float


class MoneyBetween(Out):
    """USD, and where they lie."""

    value: str
    low: str
    high: str


class Needs(Out):
    """What is needed; null where the pilot says nothing of it, as of cost without a price.

    With reuse, what is recorded already and what is equal is not counted: no call is made for it.
    """

    calls: CountsBetween | None
    input_tokens: CountsBetween | None
    output_tokens: CountsBetween | None
    cost_usd: MoneyBetween | None
    seconds: SecondsBetween | None


class EndpointNeeds(Needs):
    """What one endpoint needs."""

    name: str
    in_flight: int = Field(description="Calls at once that the time supposes.")
    tried: int = Field(description="Rows of the pilot that have ended.")
    failed: int = Field(description="Of these; tokens and cost are told from the others.")
    by_batch: bool = Field(
        default=False, description="Whether it is asked by its vendor's batch interface."
    )


class NoteOut(Out):
    """What a reader of an estimate must know besides its figures."""

    code: str = Field(examples=["budget"])
    message: str


class PilotOut(Out):
    """The pilot itself, and what it cost."""

    job: str = Field(examples=[JOB_EXAMPLE])
    cells: int
    failed: int
    calls: int
    cost_usd: str | None
    cost_unknown_calls: int
    is_reused: bool = Field(description="Whether the job takes what the pilot bought.")


class EstimateOut(Needs):
    """What a job will need beyond its pilot, as intervals."""

    confidence: float
    at: str
    is_complete: bool = Field(description="False when the pilot had not ended: ask again.")
    endpoints: list[EndpointNeeds]
    pilot: PilotOut
    notes: list[NoteOut] = Field(
        default=[], description="Why a figure is missing, and what the others suppose."
    )


class Came(Out):
    """What a job has needed up to now."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    seconds: float | None = Field(description="From its start to its end; null until then.")


class HeldAgainst(EstimateOut):
    """An estimate, and what came."""

    came: Came


def budget_out(funds: Funds | None) -> BudgetOut | None:
    """Show a budget."""
    if funds is None:
        return None
    return BudgetOut(
        limit_usd=money(funds.limit_usd),
        spent_usd=money(funds.spent_usd),
        reserved_usd=money(funds.reserved_usd),
        left_usd=money(funds.left_usd),
    )


def ledger_out(progress: Progress, account: Account | None) -> LedgerOut:
    """Show where the calls of a job stand."""
    parts = progress.endpoints.values()
    unknown = sum(part.repeated_calls for part in parts)
    return LedgerOut(
        reserved=progress.in_hand,
        settled=sum(part.calls for part in parts) - unknown,
        unknown=unknown,
        settled_usd=known_cost(progress),
        unknown_usd=None if account is None else money(account.unknown_usd),
        reserved_usd=None if account is None else money(account.reserved_usd),
    )


def estimate_out(job: Standing) -> HeldAgainst | None:
    """Hold what was foreseen of a job against what came."""
    if job.estimate is None:
        return None
    progress = job.progress
    parts = progress.endpoints.values()
    is_over = job.finished_at is not None and job.started_at is not None
    came = Came(
        calls=sum(part.calls for part in parts),
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cost_usd=known_cost(progress),
        seconds=(job.finished_at - job.started_at).total_seconds()
        if is_over and job.finished_at is not None and job.started_at is not None
        else None,
    )
    return HeldAgainst.model_validate({**job.estimate, "came": came})


def known_cost(progress: Progress) -> str | None:
    """Write the known cost; None when nothing that was bought has a known price."""
    parts = progress.endpoints.values()
    known = sum((part.cost_usd for part in parts), Decimal())
    if not known and any(part.cost_unknown_calls for part in parts):
        return None
    return money(known)


def money(amount: Decimal) -> str:
    """Write an amount without an exponent and without zeros at its end."""
    return f"{amount.normalize():f}"
