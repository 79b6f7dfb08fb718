"""What "normal" is, learned from a stream: for now from its first rows, for good from stretches of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.config import StretchesConfig
from exporter.detectors.validation import check_reference, check_windows
from exporter.errors import ConfigError, InvalidReference
from exporter.references.reference import Origin, Reference
from exporter.references.stretches import Stretches

Due = Literal["provisional", "learned"]

MAX_BYTES = 128 * 1024 * 1024
"""What the rows of a reference may hold while it is learned; of longer embeddings fewer rows are taken."""


class ReferenceLearner:
    """Collects embeddings of a stream: its first ``plan``, or stretches of it and a provisional reference.

    What is wrong in the first minute must not decide what is normal: rows with NaN or infinity are
    refused, and the length is that of the majority. Each row of another length takes back one vote
    for the length that is being collected; when none is left, the collection begins anew with the
    other one. [Boyer and Moore, MJRTY, 1981.]

    Where traffic is too thin for ``plan.over`` to bring ``plan.rows``, what has come by the end of that
    period is taken, if it is half of them and four times the longest window; else the learner waits for that.
    """

    def __init__(self, plan: int | StretchesConfig, *, window: int | Sequence[int] = 50) -> None:
        self._windows = check_windows(window)
        need = 4 * self._windows[-1]
        self._plan = plan
        self._wanted = plan if isinstance(plan, int) else plan.rows
        if self._wanted < need:
            raise ConfigError(f"learn: {self._wanted}; a window of {self._windows[-1]} needs at least {need}")
        self._need = need
        self.restart()

    def restart(self, *, provisional: bool = True) -> None:
        """Forget all rows, and begin anew; with a provisional reference too, if there is to be one."""
        plan = self._plan
        self._rows: list[NDArray[np.floating[Any]]] = []
        self._first: list[NDArray[np.floating[Any]]] = []
        self._votes = self._drifting = 0
        self._latest = 0.0
        self.size, self._most = self._wanted, MAX_BYTES
        self._wants_first = provisional and not isinstance(plan, int) and plan.provisional > 0
        self._stretches: Stretches | None = None
        if not isinstance(plan, int):
            self._stretches = Stretches(plan.over, plan.stretches, plan.stretch)

    @property
    def length(self) -> int | None:
        """Length of the embeddings that are being collected; None before the first."""
        return self._rows[0].size if self._rows else None

    @property
    def ratio(self) -> float:
        """Share of the reference, for good, that has been collected."""
        return min(1.0, len(self._rows) / self.size)

    @property
    def due(self) -> Due | None:
        """Which reference is complete, if one is."""
        if len(self._rows) >= self.size:
            return "learned"
        if self._stretches is not None and self._stretches.over and len(self._rows) >= self._fewest:
            return "learned"
        if isinstance(self._plan, StretchesConfig) and self._wants_first:
            return "provisional" if len(self._first) >= self._provisional_size else None
        return None

    def add(
        self, row: NDArray[np.generic], timestamp: float = 0.0, *, drifting: bool = False
    ) -> Literal["wrong_shape", "not_finite"] | None:
        """Take a (d,) embedding of real numbers, of that time in seconds; None, or why it was refused.

        ``drifting`` says that an episode of drift from the provisional reference lasts.
        """
        if row.ndim != 1 or not row.size:
            return "wrong_shape"
        if not np.isfinite(row).all():
            return "not_finite"
        if self._rows and row.size != self.length:
            self._votes -= 1
            if self._votes > 0:
                return "wrong_shape"
            self.restart()
        if not self._rows and not self._fits(row.size):
            return "wrong_shape"
        self._votes += 1
        self._latest = timestamp
        # A copy: what came is part of a batch, all of which it would keep.
        kept = np.array(row, dtype=row.dtype if row.dtype.kind == "f" else np.float64)
        if self._wants_first and len(self._first) < self._provisional_size:
            self._first.append(kept)
        if len(self._rows) < self.size and (self._stretches is None or self._stretches.admits(timestamp)):
            self._rows.append(kept)
            self._drifting += drifting
        return None

    def reference(self) -> Reference:
        """The one that is due; an InvalidReference if :func:`check_reference` finds one, or none is due."""
        due = self.due
        if due is None:
            raise InvalidReference("reference: too few embeddings have arrived; send traffic, or give a file")
        rows = self._first[: self._provisional_size] if due == "provisional" else self._rows
        block, notes = 1, []
        if due == "learned" and self._stretches is not None:
            block = self._stretches.length
            if len(rows) < self.size:
                notes.append(
                    f"{len(rows)} of {self.size} embeddings came in the period: the traffic was thin, or "
                    "quiet for a part of it"
                )
            rows = rows[: len(rows) // block * block]
        drifting = self._drifting / len(self._rows) if due == "learned" else 0.0
        origin = Origin(due, self._latest, len(rows), block, drifting)
        return Reference(check_reference(np.stack(rows), self._windows), origin, notes=tuple(notes))

    def no_provisional(self) -> None:
        """There is a provisional reference, or there is to be none any more: its rows are let go."""
        self._wants_first = False
        self._first = []

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Settings (JSON values) and arrays: everything that :meth:`restore` needs to go on."""
        settings = {
            "votes": self._votes,
            "drifting": self._drifting,
            "latest": self._latest,
            "wants_first": self._wants_first,
            "stretches": None if self._stretches is None else self._stretches.state(),
        }
        arrays = {"learned_rows": _stacked(self._rows), "first_rows": _stacked(self._first)}
        return settings, arrays

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was asked for; a ValueError if that does not belong together."""
        rows, first = list(arrays["learned_rows"]), list(arrays["first_rows"])
        shapes = {row.shape for row in (*rows, *first)}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(f"rows of different shapes: {sorted(shapes)}")
        self.restart()
        if rows and not self._fits(rows[0].size):
            raise ValueError(f"rows of length {rows[0].size}")
        self._rows, self._first = rows[: self.size], first
        self._votes, self._drifting = int(settings["votes"]), int(settings["drifting"])
        self._latest, self._wants_first = float(settings["latest"]), bool(settings["wants_first"])
        if self._stretches is not None:
            self._stretches.restore(settings["stretches"])

    @property
    def _provisional_size(self) -> int:
        plan = self._plan
        return 0 if isinstance(plan, int) else min(plan.provisional, self._most)

    @property
    def _fewest(self) -> int:
        """What a period of thin traffic has to bring, in whole blocks."""
        block = 1 if self._stretches is None else self._stretches.length
        return math.ceil(max(self._need, self.size / 2) / block) * block

    def _fits(self, length: int) -> bool:
        """Take as many rows of a length as memory is meant for; whether these are enough."""
        most = MAX_BYTES // (8 * length)
        if most < self._need:
            return False
        self._most, self.size = most, min(self._wanted, most)
        if self.size < self._wanted and isinstance(self._plan, StretchesConfig):
            plan = self._plan
            stretch = self.size // plan.stretches
            if stretch == 0 or stretch * plan.stretches < self._need:
                return False
            self.size = stretch * plan.stretches
            self._stretches = Stretches(plan.over, plan.stretches, stretch)
        return True


def _stacked(rows: list[NDArray[np.floating[Any]]]) -> NDArray[Any]:
    return np.stack(rows) if rows else np.zeros((0, 0))
