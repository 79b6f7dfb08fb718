"""Fitting a detector in the background, so that nothing waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from exporter.config import DetectorConfig
from exporter.detectors.base import Detector
from exporter.drift.detectors import fit_detector
from exporter.references.reference import Reference

_POLL_SECONDS = 0.1


class _Turn:
    """A process's calibrations take turns: each takes seconds of a core, and the memory of N x N values."""

    lock = threading.Lock()


class _Cancelled(Exception):
    """Ends a calibration whose result nobody wants any more."""


class Calibrator:
    """One calibration at a time of an entry of ``drift``, on a thread of its own.

    On that thread ``adopt`` is called with the detector, with what it was made from, and with the event that
    says whether it is no longer wanted; or ``fail``, with the error that left none.
    """

    def __init__(
        self,
        config: DetectorConfig,
        *,
        adopt: Callable[[Detector, Reference, threading.Event], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.reference: Reference | None = None  # until there is a detector of it
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

    @property
    def idle(self) -> bool:
        """Whether none is under way."""
        return self.join(0.0)

    def cancel(self) -> None:
        """Give up; :meth:`start` begins anew."""
        self._cancelled.set()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the one under way; True if none is."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def after_fork(self) -> None:
        """In a child process: the thread did not come along, and whose turn it was is the parent's."""
        _Turn.lock = threading.Lock()
        self._thread = None
        self._cancelled = threading.Event()

    def _run(self, cancelled: threading.Event) -> None:
        reference = self.reference
        if reference is None:
            return

        def progress(_: float) -> None:
            if cancelled.is_set():
                raise _Cancelled

        turn = _Turn.lock
        while not turn.acquire(timeout=_POLL_SECONDS):
            if cancelled.is_set():
                return
        try:
            detector = fit_detector(self._config, reference, progress)
        except _Cancelled:
            return
        except Exception as error:
            # What cannot serve never will.
            self.reference = None
            self._fail(error)
            return
        finally:
            turn.release()
        self._adopt(detector, reference, cancelled)
        if not cancelled.is_set():
            self.reference = None
