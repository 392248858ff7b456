from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from gateway.errors import InvalidRequest, QuotaExhausted, RateLimited, TimedOut, Unavailable
from gateway.http import failure_of
from gateway.http.told import Meter, Reader, Told, seconds_of, told_in
from gateway.paces import Learned

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("59.706s", 59.706),
        ("20ms", 0.02),
        ("1d", 86_400),
        ("0s", 0),
        ("7", 7),
        ("0.25", 0.25),
        (str(int(NOW) + 30), 30),
        (str(int(NOW + 30) * 1000), 30),
        ("2026-11-22T12:00:10Z", 10),
        ("2026-11-22T21:00:10+09:00", 10),
        ("2026-11-22T11:00:00Z", 0),
        ("2026-11-22T12:00:10", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("6m0", None),
    ],
)
def test_lengths_of_time_are_read_in_every_vendors_spelling(text, seconds):
    found = seconds_of(text, lambda: NOW)
    assert found == (pytest.approx(seconds, abs=1e-6) if seconds is not None else None)


OPENAI = {
    "x-ratelimit-limit-requests": "5000", "x-ratelimit-remaining-requests": "4999",
    "x-ratelimit-reset-requests": "12ms", "x-ratelimit-limit-tokens": "160000",
    "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s",
}  # fmt: skip
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-tokens-limit": "90000", "anthropic-ratelimit-input-tokens-limit": "50000",
    "anthropic-ratelimit-output-tokens-limit": "10000",
}  # fmt: skip
MISTRAL = {"x-ratelimit-limit-req-minute": "120", "x-ratelimit-limit-tokens-minute": "500000"}
CEREBRAS = {
    "x-ratelimit-limit-requests-day": "14400", "x-ratelimit-limit-tokens-minute": "60000",
    "x-ratelimit-remaining-tokens-minute": "1000",
}  # fmt: skip
PER_SECOND = {"RateLimit-Limit-Requests-Second": "10"}


@pytest.mark.parametrize(
    ("headers", "vendor", "requests", "tokens"),
    [
        (OPENAI, "openai", 5000, 160_000),
        (ANTHROPIC, "anthropic", 50, 90_000),
        (MISTRAL, "mistral", 120, 500_000),
        (CEREBRAS, "cerebras", None, 60_000),
        (PER_SECOND, "", 600, None),
        ({"x-ratelimit-limit-requests": "14400"}, "groq", None, None),
        ({"x-ratelimit-limit-requests": "many"}, "", None, None),
        ({"content-type": "application/json"}, "", None, None),
        ({"x-ratelimit-limit": "100", "x-ratelimit-reset": "17"}, "", None, None),
    ],
)
def test_limits_are_read_in_every_vendors_words(headers, vendor, requests, tokens):
    told = told_in(headers, vendor) or Told()
    assert (told.requests.per_minute if told.requests else None) == requests
    assert (told.tokens.per_minute if told.tokens else None) == tokens


def test_what_is_used_up_says_how_long_to_wait():
    told = told_in(OPENAI)
    assert told is not None
    assert told.patience == 360
    error = failure_of(429, OPENAI, b"{}")
    assert error.retry_after == timedelta(minutes=1)
    asked = failure_of(429, OPENAI | {"retry-after": "2"}, b"{}")
    assert asked.retry_after == timedelta(seconds=2)


def test_headers_that_begin_later_are_found():
    reader = Reader("openai")
    assert reader.read(200, {}) is None
    found = [reader.read(200, OPENAI) for _ in range(300)]
    assert found[-1] is not None
    assert reader.read(429, OPENAI) is not None


BROKE = (
    b'{"error":{"type":"invalid_request_error",'
    b'"message":"Your credit balance is too low to access the Anthropic API."}}'
)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            429,
            b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}',
            RateLimited,
        ),
        (429, b'{"error":{"message":"no","type":"insufficient_quota"}}', QuotaExhausted),
        (402, b'{"error":{"message":"Insufficient Balance"}}', QuotaExhausted),
        (
            400,
            BROKE,
            QuotaExhausted,
        ),
        (400, b'{"error":{"type":"invalid_request_error","message":"no"}}', InvalidRequest),
        (529, b'{"error":{"type":"overloaded_error","message":"Overloaded"}}', RateLimited),
        (503, b"", Unavailable),
        (504, b"", TimedOut),
    ],
)
def test_too_fast_too_poor_and_too_late_are_told_apart(status, body, kind):
    assert type(failure_of(status, {}, body)) is kind


def test_a_pace_is_the_limit_until_little_is_left():
    learned = Learned()
    assert learned.hear(Told(Meter(600, 500, 10)))
    assert learned.requests == 600
    assert not learned.hear(Told(Meter(601, 500, 10)))
    assert learned.hear(Told(Meter(600, 10, 30)))
    assert learned.requests == pytest.approx(30)  # What is below a twentieth is not gone below.
    assert learned.hear(Told(Meter(600, 50, 10)))
    assert learned.requests == pytest.approx(300)
    assert learned.hear(Told(Meter(600, 0, 60)))
    assert learned.requests == pytest.approx(30)
    assert learned.hear(Told(Meter(600, 0, 0.5)))  # It is there again at once.
    assert learned.requests == 600


@pytest.mark.parametrize("window", [False, True])
def test_a_pace_made_to_last_uses_up_all_and_hardly_more(window):
    """A provider that refills a bucket by and by, or all of it each minute."""
    learned, random = Learned(), Random(7)  # noqa: S311
    left, refused, accepted, now = 600.0, 0, 0, 0.0
    while now < 600:
        pace = (learned.requests or 600) / 60
        step = random.expovariate(1.0) * 0.2 / pace + 0.8 / pace
        left = min(600.0, left + (0 if window else step * 10))
        if window and int(now / 60) != int((now + step) / 60):
            left = 600.0
        now += step
        if left >= 1:
            left, accepted = left - 1, accepted + 1
        else:
            refused += 1
        reset = 60 - now % 60 if window else (600 - left) / 10
        learned.hear(Told(Meter(600, int(left), reset)))
    assert refused <= 0.01 * accepted
    assert accepted >= 0.85 * 6000


def test_moments_are_reckoned_by_the_clock_of_whoever_names_them():
    headers = {
        "date": "Sun, 22 Nov 2026 12:00:00 GMT",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:30Z",
    }
    told = told_in(headers)
    assert told is not None
    assert told.patience == 30
