"""Run one function over tasks: the executors, behind the interface in ``base``."""
