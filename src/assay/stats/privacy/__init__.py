"""Accounting of differential privacy: brackets of epsilon and delta, calibration, cross-checks, audit bounds."""
