"""The registry: versions, evidence, policies, gates, approvals, releases and the log that proves them."""
