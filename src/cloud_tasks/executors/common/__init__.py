"""Modules that both the worker's process and a task's process import."""
