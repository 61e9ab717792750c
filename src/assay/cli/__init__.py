"""The command line: one module a command group, found by discovery; it prints what the rooms return and decides nothing."""
