"""Dependencies: what a project asks for, where it comes from, what is installed, and what is known against it."""
