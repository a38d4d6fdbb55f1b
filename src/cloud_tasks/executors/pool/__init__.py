"""Modules that run in the worker's process: start children, send tasks, receive replies."""
