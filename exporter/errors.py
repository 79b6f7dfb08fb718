"""Every error that a caller may want to catch, as one short tree.

    InferenceExporterError
    ├── ConfigError          a setting is wrong; the process should not start
    ├── InvalidReference     the data that says what "normal" is cannot serve as such
    ├── InvalidEmbedding     an embedding whose length or type the detector cannot take
    ├── DetectorFileError    a saved detector is corrupt, truncated or from a newer version
    └── PayloadError         a captured body that cannot be read as a prediction
        └── IngestError      a body that others sent and that breaks a rule

A message names the key or argument, the value received, the rule, and the fix.
"""

from __future__ import annotations


class InferenceExporterError(Exception):
    """The root of all errors that this package raises on purpose."""


class ConfigError(InferenceExporterError, ValueError):
    """A setting that breaks a rule. ``str(error)`` has one line for each mistake."""


class InvalidReference(InferenceExporterError, ValueError):
    """Reference data that is too small, constant, not finite or of the wrong shape."""


class InvalidEmbedding(InferenceExporterError, ValueError):
    """An embedding, or a batch of them, of the wrong shape or dtype."""


class DetectorFileError(InferenceExporterError, ValueError):
    """A file that does not hold a detector this version can load."""


class PayloadError(InferenceExporterError, ValueError):
    """A captured exchange that holds no readable prediction.

    ``reason`` is one of the values of the ``reason`` label of
    ``inference_exporter_dropped_total``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def unreadable(message: str) -> PayloadError:
    """The error for a body that is not what its headers or its protocol say."""
    return PayloadError("unreadable", message)


class IngestError(PayloadError):
    """A request of the ingest API that breaks a rule.

    ``status`` is the HTTP status to answer with, ``field`` the path of the field at fault, empty
    where it is the body as a whole.
    """

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__("unreadable", f"{field}: {message}" if field else message)
        self.status = status
        self.field = field
