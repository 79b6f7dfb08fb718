"""The ways in: hook, proxy, ingest."""
