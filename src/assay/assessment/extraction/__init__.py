"""Extraction attacks, one module an attack: how many answers are enough to copy the model."""
