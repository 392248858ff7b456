"""The gateway's endpoints, as jobs and people may use them."""

from pydantic import Field

from api.dependencies import ContextDep
from api.wire import Out, resource
from gateway.config import Catalog, Endpoint
from gateway.types import EndpointType
from hikaku.specs import EndpointIdentity, identity

router = resource("/endpoints", "endpoints")


class EndpointOut(Out):
    """A named way to a model."""

    name: str = Field(examples=["qwen-coder"])
    endpoint_type: EndpointType
    provider: str = Field(examples=["tgi"])
    model: str | None = Field(examples=["Qwen/Qwen2.5-Coder-0.5B-Instruct"])
    fingerprint: str = Field(description="Equal fingerprints give comparable completions.")
    available: bool
    reason: str | None = Field(description="Why it is not available.", examples=[None])


class Endpoints(Out):
    """All endpoints, in the order of the configuration."""

    data: list[EndpointOut]


@router.get("", summary="List the endpoints")
async def list_endpoints(context: ContextDep) -> Endpoints:
    """Gives every endpoint of the gateway's configuration, usable or not, without secrets."""
    return Endpoints(data=[_out(e) for e in context.gateway.catalog.endpoints.values()])


def identities(catalog: Catalog) -> dict[str, EndpointIdentity]:
    """Say of every endpoint what a job keeps of it."""
    return {name: identity(endpoint) for name, endpoint in catalog.endpoints.items()}


def _out(endpoint: Endpoint) -> EndpointOut:
    return EndpointOut(
        name=endpoint.name,
        endpoint_type=endpoint.endpoint_type,
        provider=endpoint.provider,
        model=endpoint.model,
        fingerprint=endpoint.fingerprint,
        available=endpoint.unavailable is None,
        reason=endpoint.unavailable,
    )
