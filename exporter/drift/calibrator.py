"""Fitting a detector in the background, so that nothing waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from exporter.config import DetectorConfig
from exporter.detectors.base import Detector
from exporter.drift.detectors import fit_detector
from exporter.errors import InferenceExporterError


class Fail(Protocol):
    """Told why no detector came of it."""

    def __call__(self, reason: str, *, with_traceback: bool = ...) -> None:
        """Take note."""


class _Cancelled(Exception):
    """Ends a calibration whose result nobody wants any more."""


class Calibrator:
    """One calibration at a time, on a thread of its own.

    Parameters
    ----------
    config
        The entry of ``drift`` to fit a detector for.
    adopt
        Called on that thread with the detector, and with the event that says whether it is still wanted.
    fail
        Called instead if there is none.
    """

    def __init__(
        self, config: DetectorConfig, *, adopt: Callable[[Detector, threading.Event], None], fail: Fail
    ) -> None:
        self.reference: Any = None
        self._config = config
        self._adopt = adopt
        self._fail = fail
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()

    def start(self) -> None:
        """Begin with ``reference``; does nothing while one is under way, or without a reference."""
        if self.reference is None or not (self.join(0.0) or self._cancelled.is_set()):
            return
        self._cancelled = threading.Event()
        name = f"calibrate-{self._config.label}"
        self._thread = threading.Thread(target=self._run, args=(self._cancelled,), name=name, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Give up; :meth:`start` begins anew."""
        self._cancelled.set()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the one under way; True if none is."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)
            return not thread.is_alive()
        return True

    def after_fork(self) -> None:
        """In a child process: the thread did not come along."""
        self._thread = None
        self._cancelled = threading.Event()

    def _run(self, cancelled: threading.Event) -> None:
        def progress(_: float) -> None:
            if cancelled.is_set():
                raise _Cancelled

        try:
            detector = fit_detector(self._config, self.reference, progress)
            self._adopt(detector, cancelled)
        except _Cancelled:
            return
        except InferenceExporterError as error:
            self._fail(str(error), with_traceback=False)
        except Exception:
            self._fail("its calibration raised")
        else:
            if not cancelled.is_set():
                self.reference = None
