"""The run of many tasks."""
