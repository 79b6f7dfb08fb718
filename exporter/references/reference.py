"""A reference: rows that say what "normal" is, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ReferenceSource = Literal["none", "loaded", "provisional", "learned", "restored"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a reference comes from.

    Parameters
    ----------
    source
        ``loaded`` from a file; from the stream, ``provisional`` or ``learned`` for good; ``restored`` from a
        checkpoint or the state folder; ``none`` while there is no reference.
    timestamp
        When it was complete, in seconds since the epoch; 0 where that is not known.
    rows
        How many it has.
    block
        So many rows in a row stood together in the stream, and are resampled together.
    drifting_ratio
        Share of the rows that came while an episode of drift from the provisional reference lasted.
    """

    source: ReferenceSource = "none"
    timestamp: float = 0.0
    rows: int = 0
    block: int = 1
    drifting_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Reference:
    """What a detector is calibrated with.

    Parameters
    ----------
    rows
        (n, d) array of real numbers; n is a multiple of ``origin.block``.
    origin
        Where they come from.
    names
        What the d columns are called; empty where nobody says.
    notes
        What is odd about them, in plain words.
    """

    rows: Any
    origin: Origin
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
