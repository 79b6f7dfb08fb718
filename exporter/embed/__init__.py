"""Embeddings of images when the service gives none."""
