"""Sandbox engines, one a module, found by discovery."""
