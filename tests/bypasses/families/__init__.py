"""Hostile and harmless model files, one module for each group of families; every module has ``cases()``."""
