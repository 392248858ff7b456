"""What the contract suite holds of whom: `python -m tests.contract.matrix` prints it.

A cell is a number of cases. `refused` means: nothing is sent, and the error names the parameter.
"""

import sys
from collections.abc import Iterator

from tests.contract.test_failures import CODES, FAILURES, FAULTS, MALFORMED, OPENAIS
from tests.support.vendors import every
from tests.support.vendors.canon import ASKS
from tests.support.vendors.contract import Kind, Refused, Said, Vendor

_QUOTA = "QuotaExhausted"
_SHORT = {
    Kind.CHAT: "chat", Kind.COMPLETIONS: "text", Kind.EMBEDDINGS: "vectors",
    Kind.RESPONSES: "responses", Kind.MESSAGES: "messages",
}  # fmt: skip


def capabilities(vendor: Vendor) -> list[str]:
    """One cell per kind and per canonical ask that a vendor may refuse."""
    streamed = {stream.kind for stream in vendor.streams}
    kinds = [
        "-" if kind not in vendor.urls else "whole+stream" if kind in streamed else "whole"
        for kind in Kind
    ]
    chat = vendor.asks.get(Kind.CHAT, {})
    asks = [
        "-" if name not in chat else "refused" if isinstance(chat[name], Refused) else "yes"
        for name in ASKS[Kind.CHAT]
        if name not in {"plain", "turns"}
    ]
    counts = [said.usage for said in _said(vendor)]
    cached = any(usage.cached_input_tokens is not None for usage in counts)
    thought = any(usage.reasoning_tokens is not None for usage in counts)
    return [*kinds, *asks, "yes" if cached else "-", "yes" if thought else "-"]


def failures(vendor: Vendor) -> list[str]:
    """How many cases of each kind of failure; each meets every capability and a stream."""
    quota = sum(failure.error.__name__ == _QUOTA for failure in vendor.failures)
    filtered = sum(
        said.finish_reason == "content_filter" or said.refusal is not None for said in _said(vendor)
    ) + sum(failure.error.__name__ == "ContentRefused" for failure in vendor.failures)
    if vendor in OPENAIS:
        quota += sum(kind.__name__ == _QUOTA for _, kind in CODES.values())
        filtered += sum(kind.__name__ == "ContentRefused" for _, kind in CODES.values())
    inside = sum(broken.error.__name__ != "MalformedAnswer" for broken in vendor.broken_streams)
    cut = "every byte" if vendor.thorough else "1, 2, 3, 7"
    cells = [len(FAILURES), quota, len(vendor.failures), filtered, inside]
    found = [str(cell) if cell else "-" for cell in cells]
    line = str(len(FAULTS)) if vendor.thorough else "as its wire"
    malformed = len(MALFORMED) + len(vendor.malformed)
    return [*found, str(malformed), cut if vendor.streams else "-", line]


def _said(vendor: Vendor) -> list[Said]:
    return [answer.said for answer in vendor.answers] + [stream.said for stream in vendor.streams]


def table(heads: list[str], rows: Iterator[list[str]]) -> str:
    """Text in columns."""
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    padded = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def text() -> str:
    """Both tables."""
    asks = [name for name in ASKS[Kind.CHAT] if name not in {"plain", "turns"}]
    can = table(
        ["provider", *(_SHORT[kind] for kind in Kind), *asks, "cached", "reasoning"],
        ([vendor.name, *capabilities(vendor)] for vendor in every()),
    )
    statuses = f"statuses ({', '.join(str(status) for status, _ in FAILURES.values())})"
    meets = table(
        ["provider", "statuses", "quota", "own words", "filter", "inside a stream",
         "malformed", "cut at", "on a socket"],
        ([vendor.name, *failures(vendor)] for vendor in every()),
    )  # fmt: skip
    return f"{can}\n\n{meets}\n\n{statuses}; on a socket: {', '.join(FAULTS)}\n"


if __name__ == "__main__":
    sys.stdout.write(text())
