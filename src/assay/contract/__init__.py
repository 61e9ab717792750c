"""The Contract: what the data looks like and who can change it; inference, validation, the feasible region."""
