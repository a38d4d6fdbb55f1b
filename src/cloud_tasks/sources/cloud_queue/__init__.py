"""Take tasks from a provider's queue: prefetch, lease, settle.."""
