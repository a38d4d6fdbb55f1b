"""Count the events of runs in one pass and bounded memory."""
