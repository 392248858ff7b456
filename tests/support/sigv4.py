"""Checks AWS signatures of version 4 as AWS would: by the key, over what arrived."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import quote, urlsplit

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), "
    r"SignedHeaders=(?P<signed>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def signature_holds(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, secret: str
) -> bool:
    """Whether the request's signature is the one that `secret` makes.

    Args:
        method: Of HTTP.
        url: As it was sent, escapes and all.
        headers: As they were sent; `Host` is taken from the URL when it is not there.
        body: As it was sent.
        secret: The secret access key.
    """
    sent = {"host": urlsplit(url).netloc} | {k.lower(): v for k, v in headers.items()}
    found = _AUTHORIZATION.fullmatch(sent["authorization"])
    assert found is not None, sent["authorization"]
    lines = [f"{name}:{' '.join(sent[name].split())}\n" for name in found["signed"].split(";")]
    path = quote(urlsplit(url).path or "/", safe="/-_.~")
    parts = [method, path, urlsplit(url).query, "".join(lines), found["signed"]]
    canonical = "\n".join([*parts, sha256(body).hexdigest()])
    digest = sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", sent["x-amz-date"], found["scope"], digest])
    key = b"AWS4" + secret.encode()
    for part in found["scope"].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(
        hmac.new(key, text.encode(), "sha256").hexdigest(), found["signature"]
    )
