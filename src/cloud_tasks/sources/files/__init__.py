"""Read task files: open, decode, parse, one module a format.."""
