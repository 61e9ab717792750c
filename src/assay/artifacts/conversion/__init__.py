"""Safe conversion, one module for each kind of model; every function here runs inside the sandbox only."""
