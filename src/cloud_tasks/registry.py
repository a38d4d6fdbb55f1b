"""Map names to adapters: strings only, imported when first needed.

To add an adapter, write its file and one line here. Third parties register theirs as entry
points of the group named in :data:`GROUPS`; they can't replace a built-in name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from cloud_tasks.errors import ConfigurationError

_BUILT_IN: Mapping[str, Mapping[str, str]] = {
    # By the name that ``--executor`` takes.
    "executor": {
        "loky": "cloud_tasks.executors.loky:LokyExecutor",
        "spawn": "cloud_tasks.executors.spawn:SpawnExecutor",
        "forkserver": "cloud_tasks.executors.forkserver:ForkserverExecutor",
        "inline": "cloud_tasks.executors.inline:InlineExecutor",
    },
    # By the name that ``--provider`` takes, as the probes for termination notices.
    "queue": {
        "AWS": "cloud_tasks.queues.sqs.provider:SqsProvider",
        "GCP": "cloud_tasks.queues.pubsub.provider:PubSubProvider",
    },
    "probe": {
        "AWS": "cloud_tasks.termination.aws:AwsProbe",
        "GCP": "cloud_tasks.termination.gcp:GcpProbe",
        "AZURE": "cloud_tasks.termination.azure:AzureProbe",
    },
}

#: Entry-point group for each kind of adapter.
GROUPS: Mapping[str, str] = {
    "executor": "cloud_tasks.executors",
    "queue": "cloud_tasks.queues",
    "probe": "cloud_tasks.probes",
}


def names(kind: str) -> list[str]:
    """Return the built-in names of *kind*, in the order of the registry."""
    return list(_BUILT_IN[kind])


def load(kind: str, name: str) -> Any:
    """Import the class registered as *name* for *kind*.

    Raises:
        ConfigurationError: no such name is registered; the message lists those that are.
    """
    target = _BUILT_IN[kind].get(name)
    if target is None:
        return _load_entry_point(kind, name)
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _load_entry_point(kind: str, name: str) -> Any:
    # Only for names that are not built in: reading the metadata of every installed distribution
    # takes tens of milliseconds.
    from importlib.metadata import entry_points

    found = entry_points(group=GROUPS[kind])
    for entry in found:
        if entry.name == name:
            return entry.load()
    known = ", ".join([*_BUILT_IN[kind], *sorted(entry.name for entry in found)])
    raise ConfigurationError(f"unknown {kind} {name!r}: choose one of {known}")
