"""The data plane: bytes forwarded verbatim between two connections."""
