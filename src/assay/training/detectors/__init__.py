"""Detectors of adversarial inputs: fitted and calibrated on clean data, one method a module."""
