"""One limit for all processes: gates, budgets and answers that are kept in Redis or Valkey."""
