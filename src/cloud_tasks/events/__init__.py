"""Record the events of a run, send them to their sinks, and read them again."""
