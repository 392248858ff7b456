"""Other people's interfaces to models, answered by one `Gateway`."""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.surfaces.access import caller_of, key_in
from gateway.surfaces.anthropic import AnthropicSurface
from gateway.surfaces.documentation import Documentation
from gateway.surfaces.mlflow import MlflowSurface
from gateway.surfaces.mlflow_server import MlflowServerSurface
from gateway.surfaces.openai import OpenAISurface
from gateway.surfaces.passthrough import PassthroughSurface
from gateway.surfaces.refusals import refusal_at
from gateway.surfaces.responses import ResponsesSurface
from gateway.surfaces.shortcut import Shortcut

__all__ = ["Documentation", "Shortcut", "caller_of", "key_in", "refusal_at", "routes"]


def routes(gateway: Gateway) -> list[Route]:
    """Every compatible route, to be mounted at the root. Authentication is the program's."""
    openai = OpenAISurface(gateway)
    return [
        # Routes are tried in order: those asked most come first.
        *openai.routes(),
        *MlflowSurface(gateway).routes(),
        *ResponsesSurface(gateway).routes(),
        *AnthropicSurface(gateway).routes(),
        *MlflowServerSurface(gateway, openai).routes(),
        *PassthroughSurface(gateway).routes(),
    ]
