"""alibi-detect's own detectors, read or run."""
