"""What is kept of a detector over restarts: its checkpoint, and what its entry has in the state folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from exporter.config import DetectorConfig
from exporter.detectors.base import Detector
from exporter.drift.checkpoint import Checkpoint
from exporter.drift.state import Kept, StateFile
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId

log = logging.getLogger(__name__)


class Keeping:
    """The files of one entry of ``drift``, for one model, in this process; none, one or both.

    ``make`` gives what the state folder is to hold, when it is time to.
    """

    def __init__(
        self,
        folder: Path | None,
        model: ModelId,
        config: DetectorConfig,
        instruments: Instruments,
        *,
        make: Callable[[], Kept],
        clock: Callable[[], float],
    ) -> None:
        self._label = config.label
        self._make = make
        self._checkpoint = Checkpoint.of(model, config, instruments, clock)
        self._state = StateFile.of(folder, model, config, instruments, clock)

    @property
    def checkpoint_failed(self) -> Callable[[], None] | None:
        """To be called where a checkpoint is not taken up."""
        return None if self._checkpoint is None else self._checkpoint.failed

    def open(self, take_up: Callable[[Kept], None] | None) -> None:
        """Choose this process's file of the state folder; ``take_up`` is called with what it holds."""
        if self._state is None or self._state.is_open:
            return
        kept = self._state.open()
        if kept is None or take_up is None:
            return
        try:
            take_up(kept)
        except Exception as error:  # whatever is wrong with it, the service starts
            self._state.failed()
            log.warning("the state of detector %s is not taken up: %s", self._label, error)

    def save_if_due(self, lasting: Detector | None) -> None:
        """Save, if the interval has passed; a checkpoint holds no detector but a ``lasting`` one.

        A provisional one would be taken for what was learned for good.
        """
        if self._checkpoint is not None and lasting is not None:
            self._checkpoint.save_if_due(lasting)
        if self._state is not None:
            self._state.save_if_due(self._make)

    def save(self, lasting: Detector | None) -> None:
        """Save now."""
        if self._checkpoint is not None and lasting is not None:
            self._checkpoint.save(lasting)
        if self._state is not None:
            self._state.save(self._make())

    def make_due(self) -> None:
        """Save the state at the next opportunity: something has changed that took long to come by."""
        if self._state is not None:
            self._state.make_due()

    def failed(self) -> None:
        """Count that what there is could not be saved."""
        for each in (self._checkpoint, self._state):
            if each is not None:
                each.failed()

    def close(self) -> None:
        """Leave the files to the next process; in a child process, to the parent."""
        for each in (self._checkpoint, self._state):
            if each is not None:
                each.close()

    def __bool__(self) -> bool:
        return self._checkpoint is not None or self._state is not None
