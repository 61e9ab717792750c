"""Steps that bring a registry's data base to the present form; forward only."""
