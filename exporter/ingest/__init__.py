"""What others post: the ingest API, and its way into the runtime."""
