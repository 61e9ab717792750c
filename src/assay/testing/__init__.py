"""Public law suites that every discovered part passes, and that plugins can run."""
