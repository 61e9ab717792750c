"""Attacks by goal, with counted queries and hard budgets, to measure how robust a model is."""
