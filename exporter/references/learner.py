"""What "normal" is, learned from the first of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.validation import check_reference, check_windows
from exporter.errors import ConfigError, InvalidReference


class ReferenceLearner:
    """Collects ``size`` embeddings of a stream as the reference.

    What is wrong in the first minute must not decide what is normal: rows with NaN or infinity are
    refused, and the length is that of the majority. Each row of another length takes back one vote
    for the length that is being collected; when none is left, the collection begins anew with the
    other one. [Boyer and Moore, MJRTY, 1981.]
    """

    def __init__(self, size: int, *, window: int | Sequence[int] = 50) -> None:
        self._windows = check_windows(window)
        if size < 4 * self._windows[-1]:
            raise ConfigError(
                f"learn: {size}; a window of {self._windows[-1]} needs at least {4 * self._windows[-1]}"
            )
        self.size = size
        self._rows: list[NDArray[np.float64]] = []
        self._votes = 0

    @property
    def length(self) -> int | None:
        """Length of the embeddings that are being collected; None before the first."""
        return self._rows[0].size if self._rows else None

    @property
    def complete(self) -> bool:
        """Whether ``size`` rows have been collected."""
        return len(self._rows) >= self.size

    def add(self, row: NDArray[np.generic]) -> Literal["wrong_shape", "not_finite"] | None:
        """Take a (d,) embedding of real numbers; None, or why it was refused."""
        if row.ndim != 1 or not row.size:
            return "wrong_shape"
        kept = row.astype(np.float64)
        if not np.isfinite(kept).all():
            return "not_finite"
        if self._rows and kept.size != self.length:
            self._votes -= 1
            if self._votes > 0:
                return "wrong_shape"
            self._rows.clear()
            self._votes = 0
        self._rows.append(kept)
        self._votes += 1
        return None

    def reference(self) -> NDArray[np.float64]:
        """The collected rows, (size, d) float64; an InvalidReference if :func:`check_reference` finds one."""
        if not self._rows:
            raise InvalidReference("reference: no embedding has arrived yet; send traffic, or give a file")
        return check_reference(np.stack(self._rows), self._windows)
