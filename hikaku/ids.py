"""Public ids: a prefix that says what it is, and a sortable UUIDv7 in Crockford base32."""

import secrets
import time
from uuid import UUID

JOB = "job"
PROMPT_VERSION = "pt"
DATASET_REVISION = "ds"
SCHEDULE = "sch"
FILE = "file"
BATCH = "batch"
OFFLOAD = "off"

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 26
"""Base32 digits of 128 bits."""


def new_uuid() -> UUID:
    """Make a UUIDv7 (RFC 9562): milliseconds since 1970, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    bits = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=bits)


def new_id(prefix: str) -> str:
    """Make an id such as `job_01kb...`; ids of a later millisecond sort after earlier ones."""
    return encode(prefix, new_uuid())


def encode(prefix: str, value: UUID) -> str:
    """Write a UUID as a public id."""
    number, digits = value.int, []
    for _ in range(_LENGTH):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"


def decode(prefix: str, text: str) -> UUID:
    """Read a public id back.

    Raises:
        ValueError: The prefix differs, or the rest is not a base32 UUID.
    """
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != _LENGTH:
        raise ValueError(f"{text!r} is not an id that starts with {prefix}_")
    number = 0
    for digit in digits.lower():
        if digit not in _VALUES:
            raise ValueError(f"{text!r} holds {digit!r}, which is not a base32 digit")
        number = number << 5 | _VALUES[digit]
    if number >> 128:
        raise ValueError(f"{text!r} is larger than 128 bits")
    return UUID(int=number)
