"""Table sources, and whether an evaluation on them can be trusted."""
