"""Whether a pipeline could be built, found out without building one."""

from __future__ import annotations

from exporter.config import Config
from exporter.decoders.registry import make_reader
from exporter.drift.detectors import check_detector


def check_pipeline(config: Config) -> None:
    """Raise what a pipeline would, as far as files and settings tell.

    References are read and let go; of an embedder the file is looked at and no more, since loading a
    model takes seconds, and memory that is not given back.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If something that the configuration names cannot serve.
    """
    make_reader(config.capture)
    if config.capture.embedder is not None:
        from exporter.embedders.embedder import check_file

        check_file(config.capture.embedder)
    for entry in config.drift:
        check_detector(entry)
