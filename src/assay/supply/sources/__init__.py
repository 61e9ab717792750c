"""Model sources: where a model comes from, by the scheme of its URL; what arrives is bounded, named and pinned."""
