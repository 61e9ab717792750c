"""Poisoning attacks, one module an attack: what the model loses when training rows are tampered with."""
