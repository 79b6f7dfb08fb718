"""A small convolutional network that reads handwritten digits, watched for drift of its embeddings."""
