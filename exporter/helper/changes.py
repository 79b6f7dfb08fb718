"""What changed in one process's instruments, brought into another's.

Counters and histograms travel as what was added, so that a helper that died and was replaced takes
nothing away; gauges travel as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Summary

from exporter.instruments import Instruments

Cell = tuple[str, tuple[str, ...], str | int]
"""Name of the instrument, values of its labels, and which number of it: a bucket's place, or a word."""

Change = tuple[Cell, float]


class Outgoing:
    """Finds what changed in ``instruments`` since it was last asked."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._sent: dict[Cell, float] = {}
        self._cells: dict[tuple[str, tuple[str, ...]], list[tuple[Cell, Any, bool]]] = {}

    def changes(self) -> list[Change]:
        """Additions to counters and histograms, and new values of gauges; all gauges at first."""
        found = []
        sent = self._sent
        for cell, value, is_gauge in self._all():
            number = value.get()
            before = sent.get(cell)
            if number == before or (before is None and number == 0 and not is_gauge):
                continue
            sent[cell] = number
            found.append((cell, number if is_gauge else number - (before or 0.0)))
        return found

    def repeat_gauges(self) -> None:
        """Let the next changes hold every gauge."""
        for cell, _, is_gauge in self._all():
            if is_gauge:
                self._sent.pop(cell, None)

    def _all(self) -> Iterator[tuple[Cell, Any, bool]]:
        known = self._cells
        for name, labels, child in self._instruments.children():
            cells = known.get((name, labels))
            if cells is None or cells[0][1] is not _numbers(child)[0][1]:
                is_gauge = isinstance(child, Gauge)
                cells = [((name, labels, part), value, is_gauge) for part, value in _numbers(child)]
                known[name, labels] = cells
                for cell, _, _ in cells:
                    self._sent.pop(cell, None)
            yield from cells


class Incoming:
    """Brings another process's changes into ``instruments``."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._setters: dict[Cell, Callable[[float], None]] = {}

    def apply(self, changes: list[Change]) -> None:
        """Add to counters and histograms, set gauges."""
        setters = self._setters
        for cell, number in changes:
            setter = setters.get(cell)
            if setter is None:
                setter = setters[cell] = self._setter(cell)
            setter(number)

    def forget(self) -> None:
        """Look everything up anew: series may have been removed."""
        self._setters.clear()

    def _setter(self, cell: Cell) -> Callable[[float], None]:
        name, labels, part = cell
        child = self._instruments[name].labels(*labels) if labels else self._instruments[name]
        if isinstance(child, Gauge):
            return child.set
        inc: Callable[[float], None] = dict(_numbers(child))[part].inc
        return inc


def _numbers(child: Any) -> list[tuple[str | int, Any]]:
    # prometheus-client has no public way to the numbers of a histogram.
    if isinstance(child, Counter | Gauge):
        return [("value", child._value)]
    if isinstance(child, Histogram):
        return [("sum", child._sum), *enumerate(child._buckets)]
    if isinstance(child, Summary):
        return [("sum", child._sum), ("count", child._count)]
    raise TypeError(f"{type(child).__name__} is no instrument of ours")
