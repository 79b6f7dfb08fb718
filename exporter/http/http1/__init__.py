"""A connection's two byte streams seen as HTTP/1 exchanges."""
