"""Load the tasks of a source into a queue, and resume an interrupted load."""
