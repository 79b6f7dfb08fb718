"""What changed in one process's instruments, brought into another's.

Counters and histograms travel as what was added, so that a helper that died and was replaced takes
nothing away; gauges travel as they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from exporter.metrics.instruments import Instruments
from exporter.metrics.private import numbers

Cell = tuple[str, tuple[str, ...], str | int]
"""Name of the instrument, values of its labels, and which number of it: a bucket's place, or a word."""


@dataclass(frozen=True)
class Changes:
    """What changed: (number of the cell, how much) pairs, and the cells that get their numbers with this."""

    named: list[Cell]
    amounts: list[tuple[int, float]]


@dataclass(slots=True)
class _Sent:
    """What of a cell the other process knows: its number, and how much; None before it was sent."""

    part: str | int
    value: Any
    is_gauge: bool
    number: int | None = None
    amount: float | None = None


class Outgoing:
    """Finds what changed in ``instruments``, of which no series is ever removed, since it was last asked."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._series: dict[tuple[str, tuple[str, ...]], list[_Sent]] = {}
        self._n_named = 0

    def changes(self) -> Changes:
        """Additions to counters and histograms, and new values of gauges; whatever is new, also with a 0."""
        changes = Changes([], [])
        for name, labels, child in self._instruments.children():
            cells = self._series.get((name, labels))
            if cells is None:
                is_gauge = isinstance(child, Gauge)
                cells = [_Sent(part, value, is_gauge) for part, value in numbers(child)]
                self._series[name, labels] = cells
            for cell in cells:
                amount = cell.value.get()
                if amount == cell.amount:
                    continue
                if cell.number is None:
                    cell.number = self._n_named
                    self._n_named += 1
                    changes.named.append((name, labels, cell.part))
                added = amount if cell.is_gauge else amount - (cell.amount or 0.0)
                changes.amounts.append((cell.number, added))
                cell.amount = amount
        return changes


class Incoming:
    """Brings another process's changes into ``instruments``."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._setters: list[Callable[[float], None]] = []

    def apply(self, changes: Changes) -> None:
        """Add to counters and histograms, set gauges."""
        self._setters += [self._setter(*cell) for cell in changes.named]
        for number, amount in changes.amounts:
            self._setters[number](amount)

    def _setter(self, name: str, labels: tuple[str, ...], part: str | int) -> Callable[[float], None]:
        child = self._instruments[name].labels(*labels) if labels else self._instruments[name]
        if isinstance(child, Gauge):
            return child.set
        inc: Callable[[float], None] = dict(numbers(child))[part].inc
        return inc
