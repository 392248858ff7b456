from gateway import quota
from gateway.config import CallLimit


def test_many_callers_do_not_end_everybodys_count():
    counts = quota.LocalQuota(clock=lambda: 0.0, most=20)
    limit = CallLimit(calls=1, renewal_period="minute")
    for number in range(25):
        counts.spend(limit, "gateway", "chat", f"10.0.0.{number}")
    refused = 0
    for number in range(5, 25):
        try:
            counts.spend(limit, "gateway", "chat", f"10.0.0.{number}")
        except quota.CallLimitExceeded:
            refused += 1
    assert refused >= 12
