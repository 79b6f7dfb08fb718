"""Fitting a detector in the background, so that nothing waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from exporter.config import DetectorConfig
from exporter.detectors.base import Detector
from exporter.drift.detectors import fit_detector
from exporter.errors import InferenceExporterError

# A calibration takes a core for seconds: those of many models come one after the other.
_turn = threading.Lock()
_LOOK_SECONDS = 0.1


class _Cancelled(Exception):
    """Ends a calibration whose result nobody wants any more."""


class Calibrator:
    """One calibration at a time of an entry of ``drift``, and in the process, on a thread of its own.

    On that thread ``adopt`` is called with the detector, and with the event that says whether it is no longer
    wanted; or ``fail``, with the reason why there is none and whether a traceback tells more.
    """

    def __init__(
        self,
        config: DetectorConfig,
        *,
        adopt: Callable[[Detector, threading.Event], None],
        fail: Callable[[str, bool], None],
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
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def after_fork(self) -> None:
        """In a child process: the thread did not come along."""
        global _turn  # noqa: PLW0603 - a thread of the parent may have it
        _turn = threading.Lock()
        self._thread = None
        self._cancelled = threading.Event()

    def _run(self, cancelled: threading.Event) -> None:
        turn = _turn
        while not turn.acquire(timeout=_LOOK_SECONDS):
            if cancelled.is_set():
                return
        try:
            self._calibrate(cancelled)
        finally:
            turn.release()

    def _calibrate(self, cancelled: threading.Event) -> None:
        def progress(_: float) -> None:
            if cancelled.is_set():
                raise _Cancelled

        try:
            self._adopt(fit_detector(self._config, self.reference, progress), cancelled)
        except _Cancelled:
            return
        except InferenceExporterError as error:
            self._fail(str(error), False)
        except Exception:
            self._fail("its calibration raised", True)
        else:
            if not cancelled.is_set():
                self.reference = None
