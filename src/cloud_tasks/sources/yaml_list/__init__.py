"""Task files in YAML, the home of PyYAML: ``reader`` gives entries, the others help it."""
