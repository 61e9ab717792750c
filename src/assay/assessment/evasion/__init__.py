"""Evasion: inputs inside the feasible region that a model gets wrong, found by counted queries."""
