"""Settings of the worker: one table, and what is made from it.

:mod:`~cloud_tasks.settings.table` has a row for each setting, ``resolve`` finds the values,
``derive`` fills those that depend on others, ``reference`` writes the page of documentation.
"""
