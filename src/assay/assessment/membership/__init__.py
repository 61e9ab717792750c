"""Membership inference: which rows was a model trained on, and how surely can an attacker tell."""
