"""Write and read what runs leave behind: starts and ends, failures, task logs, event logs."""
