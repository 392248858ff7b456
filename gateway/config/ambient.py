"""Credentials that a machine has for all its programs, looked up when a file gives none."""

from collections.abc import Mapping
from pathlib import Path

from gateway.config.secrets import Resolver

_LOGIN = "application_default_credentials.json"


def google_login(resolver: Resolver, given: Mapping[str, object]) -> str | None:
    """Google's application default credentials: the variable's file, else that of `gcloud`.

    Raises:
        MissingSecretError: The variable leads to no file.
    """
    if given.keys() & {"vertex_credentials", "vertex_access_token"}:
        return None
    if named := resolver.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return resolver.secret(f"file:{named}")
    folder = resolver.environ.get("CLOUDSDK_CONFIG")
    home = resolver.environ.get("HOME", "")
    path = (Path(folder) if folder else Path(home) / ".config" / "gcloud") / _LOGIN
    return resolver.secret(f"file:{path}") if path.is_file() else None
