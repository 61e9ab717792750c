"""The guards: one module each, found by discovery."""
