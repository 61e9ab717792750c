"""One reader a module: each knows a format by its content and says what loading it would do."""
