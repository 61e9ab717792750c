"""Input transformations, each with what an attacker who knows it does about it."""
