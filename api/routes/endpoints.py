"""The gateway's endpoints, as jobs and people may use them."""

from datetime import datetime

from pydantic import Field
from starlette.responses import Response

from api.context import Context
from api.dependencies import ContextDep
from api.wire import Out, problems, resource
from gateway.config import Catalog
from gateway.config.published import published
from gateway.surfaces.inventory import inventory
from gateway.types import EndpointType
from hikaku.errors import Conflict, InvalidInput
from hikaku.identities import identity
from hikaku.specs import EndpointIdentity

router = resource("/endpoints", "endpoints")


class ReplicaOut(Out):
    """One server behind an endpoint."""

    url: str | None = Field(examples=["http://tgi-0:8080"])
    state: str = Field(description="`closed` (in use), `open` or `half_open`.")
    in_flight: int
    capacity: int | None = Field(description="Calls it takes at once; null: not known.")
    serves: str | None = Field(description="The model it says it serves.", examples=[None])
    reason: str | None = Field(description="Why it is not in use.", examples=[None])


class EndpointOut(Out):
    """A named way to a model."""

    name: str = Field(examples=["qwen-coder"])
    endpoint_type: EndpointType
    provider: str = Field(examples=["tgi"])
    model: str | None = Field(examples=["Qwen/Qwen2.5-Coder-0.5B-Instruct"])
    fingerprint: str = Field(description="Equal fingerprints give comparable completions.")
    available: bool
    reason: str | None = Field(description="Why it is not available.", examples=[None])
    replicas: list[ReplicaOut] = Field(
        description="The servers behind it, as this process sees them; of vendors, one."
    )


class ConfigOut(Out):
    """The gateway's file, as this process goes by it."""

    path: str = Field(examples=["/etc/hikaku/gateway.yaml"])
    loaded_at: datetime | None = Field(description="When what is in use was read.")
    error: str | None = Field(
        description="Why the file as it lies there is not in use; what was read before it is.",
        examples=[None],
    )
    warnings: list[str] = Field(description="Of what is in use.")


class Endpoints(Out):
    """All endpoints, in the order of the configuration."""

    data: list[EndpointOut]
    config: ConfigOut | None = Field(
        description="Where they come from; null where no file is followed."
    )


@router.get("", summary="List the endpoints")
async def list_endpoints(context: ContextDep) -> Endpoints:
    """Gives every endpoint of the gateway's configuration, usable or not, without secrets."""
    return _listed(context)


@router.get("/schema", summary="Get the JSON Schema of the gateway's file")
def read_schema() -> Response:
    """Gives JSON Schema, draft 2020-12, for editors and checkers; YAML is checked by it as JSON."""
    return Response(published(), media_type="application/schema+json")


@router.post("/reload", summary="Read the gateway's file now", responses=problems(409, 422))
async def reload(context: ContextDep) -> Endpoints:
    """Reads the file in this process; the others see a change within two seconds by themselves.

    A file that cannot be used is answered with 422, and what was in use stays so.
    """
    if context.watcher is None:
        raise Conflict("no file is followed here: the endpoints were given otherwise")
    status = await context.watcher.reload()
    if status.error is not None:
        raise InvalidInput(f"what was in use stays so: {status.error}")
    return _listed(context)


def identities(catalog: Catalog) -> dict[str, EndpointIdentity]:
    """Say of every endpoint what a job keeps of it."""
    return {name: identity(endpoint) for name, endpoint in catalog.endpoints.items()}


def _listed(context: Context) -> Endpoints:
    status = context.watcher.status if context.watcher is not None else None
    return Endpoints.model_validate(inventory(context.gateway, status))
