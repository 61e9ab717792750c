"""Model files: readers by content, the malicious-model scan, and safe conversion; nothing here executes what it reads."""
