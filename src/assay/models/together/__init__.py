"""Fitting many copies of one estimator at once: one module for each kind that gains from it."""
