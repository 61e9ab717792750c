"""Adapters that turn estimators, files and endpoints into one Predictor."""
