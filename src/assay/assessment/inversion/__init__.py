"""Attacks that ask the model about people or classes instead of rows: attributes inferred, classes drawn."""
