"""Embeddings of images, where a service gives none."""
