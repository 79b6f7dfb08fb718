"""From an HTTP exchange to an Observation."""
