"""Bill of materials: CycloneDX 1.7 with a model card, written, checked against the schema, and compared."""
