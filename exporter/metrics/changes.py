"""What changed in one process's instruments, brought into another's.

Counters and histograms travel as what was added, so that a helper that died and was replaced takes
nothing away; gauges travel as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

    def __bool__(self) -> bool:
        return bool(self.amounts)


class Outgoing:
    """Finds what changed in ``instruments``, of which no series is ever removed, since it was last asked."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._sent: dict[Cell, float] = {}
        self._places: dict[Cell, int] = {}
        self._cells: dict[tuple[str, tuple[str, ...]], list[tuple[Cell, Any, bool]]] = {}

    def changes(self) -> Changes:
        """Additions to counters and histograms, and new values of gauges; whatever is new, also with a 0."""
        changes = Changes([], [])
        sent, places = self._sent, self._places
        for cell, value, is_gauge in self._all():
            amount = value.get()
            before = sent.get(cell)
            if amount == before:
                continue
            sent[cell] = amount
            number = places.get(cell)
            if number is None:
                number = places[cell] = len(places)
                changes.named.append(cell)
            changes.amounts.append((number, amount if is_gauge else amount - (before or 0.0)))
        return changes

    def _all(self) -> Iterator[tuple[Cell, Any, bool]]:
        known = self._cells
        for name, labels, child in self._instruments.children():
            cells = known.get((name, labels))
            if cells is None:
                is_gauge = isinstance(child, Gauge)
                cells = [((name, labels, part), value, is_gauge) for part, value in numbers(child)]
                known[name, labels] = cells
            yield from cells


class Incoming:
    """Brings another process's changes into ``instruments``."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._cells: list[Cell] = []
        self._setters: list[Callable[[float], None] | None] = []

    def apply(self, changes: Changes) -> None:
        """Add to counters and histograms, set gauges."""
        self._cells += changes.named
        setters = self._setters
        setters += [None] * len(changes.named)
        for number, amount in changes.amounts:
            setter = setters[number]
            if setter is None:
                setter = setters[number] = self._setter(self._cells[number])
            setter(amount)

    def _setter(self, cell: Cell) -> Callable[[float], None]:
        name, labels, part = cell
        child = self._instruments[name].labels(*labels) if labels else self._instruments[name]
        if isinstance(child, Gauge):
            return child.set
        inc: Callable[[float], None] = dict(numbers(child))[part].inc
        return inc
