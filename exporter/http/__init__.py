"""HTTP seen from outside, without I/O: exchanges, paths, encodings."""
