"""One limit for all processes: gates, budgets, counts, answers; kept in Redis or Valkey."""

from gateway.shared.answers import SharedCache
from gateway.shared.gates import SharedGates
from gateway.shared.hub import Hub
from gateway.shared.purses import SharedBudgets
from gateway.shared.quotas import SharedQuota

__all__ = ["Hub", "SharedBudgets", "SharedCache", "SharedGates", "SharedQuota"]
