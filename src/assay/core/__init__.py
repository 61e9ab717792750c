"""Values and laws that every other room speaks: digests, measures, findings, evidence, budgets, errors."""
