"""Supply: what a model and its pipeline depend on: configuration, dependencies, sources."""
