"""Names of providers: ours in any case, and those that other packages registered."""

from __future__ import annotations

from cloud_tasks import registry
from cloud_tasks.settings.parse import quoted

#: Providers of ours, whatever they are for.
BUILT_IN: tuple[str, ...] = tuple(
    dict.fromkeys([*registry.names("queue"), *registry.names("probe")])
)


def provider_name(value: str) -> str:
    """Read the name of a provider in any case; it is spelled as it was registered."""
    name = value.strip()
    if name.upper() in BUILT_IN:
        return name.upper()
    registered = _registered("queue", "probe")
    for spelling in [name, *registered]:
        if spelling in registered and spelling.lower() == name.lower():
            return spelling
    known = dict.fromkeys([*BUILT_IN, *registered])
    raise ValueError(f"{quoted(value)} is none of {', '.join(known)}")


def instead_of(name: str) -> list[str]:
    """Return the providers that have queues if *name* is none of them; else nothing."""
    ours = registry.names("queue")
    if name in ours:
        return []
    registered = _registered("queue")
    return [] if name in registered else [*ours, *registered]


def required_settings(name: str | None) -> tuple[str, ...]:
    """Return the settings that must be given for queues of provider *name*.

    Imports the provider's module. Returns nothing for a name without queues.
    """
    if name is None or instead_of(name):
        return ()
    required: tuple[str, ...] = registry.load("queue", name).required_settings
    return required


def _registered(*kinds: str) -> list[str]:
    """Return the names that other packages registered, without those that are ours."""
    # Reading the metadata of every installed distribution takes tens of milliseconds: done for
    # names only that are not ours.
    from importlib.metadata import entry_points

    found = {
        entry.name
        for kind in kinds
        for entry in entry_points(group=registry.GROUPS[kind])
        if entry.name.upper() not in registry.names(kind)
    }
    return sorted(found)
