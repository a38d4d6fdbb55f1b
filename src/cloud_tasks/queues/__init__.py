"""Message queues that a cloud operates: for tasks, for events, and for what was given up.

This room knows messages, not tasks. :mod:`cloud_tasks.queues.base` has the interface; a provider
is one folder; :mod:`cloud_tasks.queues.retrying` is the only place where a request is repeated.
"""
