"""What went wrong on the way to a server, in words that do not tell where the server is.

Whoever asks an endpoint knows its name; where it stands is the operator's, and may be inside of a
network that others have no business to know. Addresses go to the log (`gateway.outages`).
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator

from gateway.errors import Unreachable

_OTHERWISE = "no connection could be made, or it broke"
_WORDS = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was closed",
    errno.ECONNABORTED: "the connection was aborted",
    errno.ENETUNREACH: "the network cannot be reached",
    errno.EHOSTUNREACH: "the server's machine cannot be reached",
    errno.ENETDOWN: "the network is down",
    errno.ETIMEDOUT: "the connection timed out",
    errno.EMFILE: "this process has too many open files",
    errno.ENFILE: "this machine has too many open files",
    errno.EADDRNOTAVAIL: "this machine has no free port left",
    errno.EACCES: "this machine forbids the connection",
}
_NUMBER = re.compile(r"\[Errno (\d+)\]", re.ASCII)


def unreached(error: BaseException) -> Unreachable:
    """The failure that a broken connection means; the words of `error` go into its `detail`."""
    return Unreachable(words_for(error), detail=f"{type(error).__name__}: {error}")


def words_for(error: BaseException) -> str:
    """The kind of failure; libraries wrap it, and the innermost known one counts."""
    found = _OTHERWISE
    for inner in _chain(error):
        found = _word(inner) or found
    return found


def _word(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not accepted"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection could be made"
    if isinstance(error, socket.gaierror):
        return "its name is not found"
    if not isinstance(error, OSError):
        return None
    number = error.errno
    if number is None and (told := _NUMBER.search(str(error))) is not None:
        number = int(told[1])  # Of several addresses, asyncio has one sentence.
    return _WORDS.get(number) if number is not None else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was made of, from the outermost to the innermost."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        inner = getattr(following, "os_error", None)  # aiohttp's.
        following = (
            inner
            if isinstance(inner, BaseException)
            else following.__cause__ or following.__context__
        )
