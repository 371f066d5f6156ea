"""Ten studies whose traces are committed, event by event."""
