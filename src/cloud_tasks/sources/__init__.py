"""Sources of tasks: files, functions of a program, and queues of a cloud provider."""
