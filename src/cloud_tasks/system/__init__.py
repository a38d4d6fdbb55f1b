"""Modules that ask the operating system: processes, control groups, cores, memory, files."""
