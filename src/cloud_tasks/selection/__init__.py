"""Choose the tasks of a run: all, those of some ids, or those that earlier runs left over."""
