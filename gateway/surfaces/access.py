"""Where clients of the surfaces put the key."""

import base64
import binascii
from collections.abc import Iterable

_BARE = (b"x-api-key", b"api-key")
"""Headers that hold nothing but the key: Anthropic's SDKs and Azure's send theirs so."""


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key that a request shows: as a Bearer token, a Basic password, or in a header of its own.

    Bytes, as the wire has no opinion on their encoding.
    """
    bare: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            match scheme.lower():
                case b"bearer":
                    return rest.strip()
                case b"basic":
                    return _password(rest.strip())
                case _:
                    continue
        if name in _BARE:
            bare = value
    return bare


def _password(encoded: bytes) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return None
