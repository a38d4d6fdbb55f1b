"""Choose which tasks of a source a run executes: all, by id, or those not yet finished.."""
