"""Intervals, exact tests and drift statistics: pure functions on arrays."""
