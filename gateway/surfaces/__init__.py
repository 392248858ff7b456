"""Other people's interfaces to models, answered by one `Gateway`: MLflow's and OpenAI's."""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.surfaces.mlflow import MlflowSurface
from gateway.surfaces.openai import OpenAISurface

__all__ = ["routes"]


def routes(gateway: Gateway) -> list[Route]:
    """Every compatible route, to be mounted at the root. Authentication is the program's."""
    return [*MlflowSurface(gateway).routes(), *OpenAISurface(gateway).routes()]
