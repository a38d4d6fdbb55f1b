"""Report on a run from its events: as text, as one JSON document, as a page."""
