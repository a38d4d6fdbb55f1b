"""Modules that run in a task's process: receive tasks, call the function, reply."""
