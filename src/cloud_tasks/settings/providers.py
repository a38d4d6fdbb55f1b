"""Read the names of providers, and find what each of them needs.

Names of ours are read in any case; other packages register theirs by entry points.
"""

from __future__ import annotations

from cloud_tasks import registry
from cloud_tasks.settings.parse import quoted

#: Providers of this package, for queues or for termination notices.
BUILT_IN: tuple[str, ...] = tuple(
    dict.fromkeys([*registry.names("queue"), *registry.names("probe")])
)


def provider_name(value: str) -> str:
    """Parse the name of a provider in any case; returns it as it was registered."""
    name = value.strip()
    if name.upper() in BUILT_IN:
        return name.upper()
    registered = _registered("queue", "probe")
    for spelling in [name, *registered]:
        if spelling in registered and spelling.lower() == name.lower():
            return spelling
    known = dict.fromkeys([*BUILT_IN, *registered])
    raise ValueError(f"{quoted(value)} is none of {', '.join(known)}")


def alternatives_to(name: str) -> list[str]:
    """Return the providers that have queues, if *name* has none; else an empty list."""
    ours = registry.names("queue")
    if name in ours:
        return []
    registered = _registered("queue")
    return [] if name in registered else [*ours, *registered]


def required_settings(name: str | None) -> tuple[str, ...]:
    """Return the settings that must be given for queues of provider *name*.

    Imports the provider's module. Returns nothing for a name without queues.
    """
    if name is None or alternatives_to(name):
        return ()
    required: tuple[str, ...] = registry.load("queue", name).required_settings
    return required


def _registered(*kinds: str) -> list[str]:
    """Return the names that other packages registered, without those of this package."""
    # Reading the metadata of every installed distribution takes tens of milliseconds, so it is
    # done only for names that are not of this package.
    from importlib.metadata import entry_points

    found = {
        entry.name
        for kind in kinds
        for entry in entry_points(group=registry.GROUPS[kind])
        if entry.name.upper() not in registry.names(kind)
    }
    return sorted(found)
