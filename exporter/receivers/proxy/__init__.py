"""The data plane: bytes forwarded verbatim between two connections, and the capture log."""
