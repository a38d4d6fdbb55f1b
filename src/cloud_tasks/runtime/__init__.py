"""Run all tasks of a source with an executor; ``run`` draws the way of a task."""
