"""Google Pub/Sub: a topic and its subscription make one queue."""
