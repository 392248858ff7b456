"""Bytes to text: which encoding an upload is in, and where it breaks its own rules."""

import codecs
import re
from collections.abc import Iterator

from hikaku.datasets.places import Place
from hikaku.errors import InvalidInput

UTF_8 = "utf-8"

_CODECS = {
    "utf-8": UTF_8,
    "utf-8-sig": UTF_8,
    "cp932": "cp932",
    "shift_jis": "cp932",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
}
"""Accepted names, as Python's codecs spell them. What calls itself Shift_JIS is CP932."""

_KANA = re.compile("[\u3001\u3002\u3040-\u30ff]")
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PEEK_BYTES = 65_536


def known_encoding(name: str, head: bytes) -> str:
    """Give the codec for an encoding's name, however it is written; `head` begins the upload.

    Raises:
        InvalidInput: The name is unknown, or not among the accepted ones.
    """
    try:
        spelled = codecs.lookup(name).name
    except LookupError:
        spelled = ""
    codec = _CODECS.get(spelled) or _CODECS.get(spelled.replace("_", "-"))
    if codec is None:
        names = ", ".join(_CODECS)
        raise InvalidInput(f"encoding {name!r} is not supported; use one of: {names}")
    return _utf_16(head) if codec == "utf-16" else codec


def detect_encoding(first_bytes: bytes) -> str:
    """Guess the encoding from the beginning of an upload.

    A byte order mark decides; then UTF-8, if the bytes are valid; then CP932, if they are valid
    and hold kana. What fits none is called UTF-8, so that reading it names the faulty byte.
    """
    head = first_bytes[:_PEEK_BYTES]
    if head.startswith(_UTF_16_MARKS) or b"\0" in head[:2]:
        return _utf_16(head)
    if not _decodes(head, UTF_8) and _KANA.search(_decodes(head, "cp932") or ""):
        return "cp932"
    return UTF_8


def decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[str]:
    """Decode chunk by chunk, however the characters are cut; a byte order mark is left out.

    Raises:
        InvalidInput: A byte is not of the encoding, or a character is NUL; names the place.
    """
    place = Place(1)
    mark = "\ufeff"
    for text, error in _pieces(chunks, encoding):
        sound, nul, _ = text.removeprefix(mark).partition("\0")
        mark = "" if text else mark
        place = place.after(sound)
        yield sound  # before any complaint, so that faults are named in the order of the file
        if nul:
            raise place.refuse(_NUL)
        if error:
            raise place.refuse(foreign_byte(error)) from error


def _pieces(
    chunks: Iterator[bytes], encoding: str
) -> Iterator[tuple[str, UnicodeDecodeError | None]]:
    """Decode each chunk as far as it goes, with the error that stops it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in _with_end(chunks):
        try:
            yield decoder.decode(chunk, final=not chunk), None
        except UnicodeDecodeError as error:
            yield error.object[: error.start].decode(encoding), error
            return


_NUL = "the character NUL (U+0000) cannot be stored; remove it, or name the encoding of the file"


def foreign_byte(error: UnicodeDecodeError) -> str:
    """Say which byte does not belong, and what to do."""
    byte = f"byte 0x{error.object[error.start]:02X} is not valid {error.encoding.upper()}"
    if error.encoding == UTF_8:
        return f"{byte}; save the file as UTF-8, or name its encoding (such as encoding=cp932)"
    return f"{byte}; name the encoding that the file is in"


def _utf_16(head: bytes) -> str:
    return "utf-16-be" if head.startswith((codecs.BOM_UTF16_BE, b"\0")) else "utf-16-le"


def _with_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from filter(None, chunks)
    yield b""


def _decodes(head: bytes, encoding: str) -> str | None:
    """Decode a beginning that may stop in the middle of a character; None when it cannot be."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
