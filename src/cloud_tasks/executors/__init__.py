"""How tasks are run."""
