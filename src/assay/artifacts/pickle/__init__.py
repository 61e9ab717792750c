"""A pickle reader that follows every opcode with symbolic values and never imports or calls what the file names."""
