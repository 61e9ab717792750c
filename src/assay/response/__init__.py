"""Incidents and the playbooks that people follow."""
