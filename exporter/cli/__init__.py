"""The commands: each a thin shell over functions that do the work."""
