"""Training as an isolated job with its provenance: no network, inputs read-only, one folder to write to."""
