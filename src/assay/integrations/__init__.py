"""Assay inside other systems: Kubernetes and KServe."""
