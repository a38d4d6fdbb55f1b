"""What runs leave behind, and how it is read again: events, settings, failures, task logs."""
