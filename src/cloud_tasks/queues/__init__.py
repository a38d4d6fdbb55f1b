"""Message queues of cloud providers: for tasks, for their events, and for tasks given up.

This package knows messages, not tasks. :mod:`cloud_tasks.queues.base` has the interface, each
provider has a folder, and :mod:`cloud_tasks.queues.retrying` alone repeats requests. Programs open
the queues of a job by :mod:`cloud_tasks.queues.job`.
"""
