"""What others post: observations, late labels, reports of models."""
