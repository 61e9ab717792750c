"""Certificates: radii within which no input can change a model's answer, one method a module."""
