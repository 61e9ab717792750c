"""The checks, one module a system; each is a row: what to look for, how bad it is, what to do."""
