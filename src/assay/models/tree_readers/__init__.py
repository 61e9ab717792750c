"""Readers of trees: one module a library, each by what that library documents."""
