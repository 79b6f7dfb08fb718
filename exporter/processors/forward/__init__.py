"""The way to a collector: observations sent in batches, from a thread of its own."""
