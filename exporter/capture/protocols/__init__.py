"""Presets for ``capture.payload``: one file for each serving protocol."""
