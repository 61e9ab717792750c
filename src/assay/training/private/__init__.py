"""Training and predicting under differential privacy, with the claim, its proof's conditions and its audit."""
