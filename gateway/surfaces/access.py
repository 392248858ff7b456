"""Where clients of the surfaces put the key."""

import base64
import binascii
import functools
import hashlib
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


@functools.lru_cache(maxsize=1024)
def caller_of(key: bytes) -> str:
    """What whoever bears a key is called: a digest of it, never the key."""
    return "key-" + hashlib.blake2b(key, digest_size=6, person=b"hikaku-caller").hexdigest()


def _password(encoded: bytes) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return None
