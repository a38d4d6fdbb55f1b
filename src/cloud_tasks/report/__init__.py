"""What a run came to, from its events: as text, as one JSON document, as a page."""
