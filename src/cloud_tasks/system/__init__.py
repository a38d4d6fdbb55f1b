"""Ask the operating system: processes, control groups, cores, memory, files.."""
