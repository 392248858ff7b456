"""One limit for all processes: gates, budgets and answers that are kept in Redis or Valkey."""

from gateway.shared.answers import SharedCache
from gateway.shared.gates import SharedGates
from gateway.shared.hub import Hub
from gateway.shared.purses import SharedBudgets

__all__ = ["Hub", "SharedBudgets", "SharedCache", "SharedGates"]
