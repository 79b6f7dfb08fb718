"""A helper process that reads, counts and tests, away from the service's interpreter lock."""
