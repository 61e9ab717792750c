"""MITRE ATLAS as typed data: what attackers do to models, what helps, and the layer that shows it."""
