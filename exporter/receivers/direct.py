"""The receiver of a process without HTTP: it says itself what its model predicted, one by one or in batches.

Nothing is raised for what is given, and nobody waits, but for who asks to. What is refused is counted, and
said in the log once for each field and reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from exporter.observation import Observation, Source, observation_of
from exporter.receivers.columns import WrongLengths, rows_of
from exporter.receivers.plain import FIELDS, plain_fields
from exporter.receivers.rows import Rows

log = logging.getLogger(__name__)

# A block is what is handed on in one piece: enough of it to be worth the way, little enough to be spread.
_BLOCK_ROWS = 1024
_BLOCK_BYTES = 1024 * 1024
_LOOK_AGAIN_SECONDS = 0.002
_SOURCE: Source = "record"


class Sink(Protocol):
    """Where a record goes. None of it raises or waits."""

    def submit(self, item: Observation | Rows, source: Source) -> bool:
        """Queue an observation or rows; False if there was no place, which is counted."""

    def room(self, rows: Rows, bytes_each: int) -> int:
        """How many of these rows, of so many bytes, there is place for now."""

    def refuse_rows(self, rows: Rows, n: int, source: Source, reason: str | None = None) -> None:
        """Count ``n`` that were given up at once: for a reason of the ledger, or for want of place."""

    def refuse_value(self, rows: Rows, field: str, reason: str, n: int) -> None:
        """Count values that are not valid; the rows say of which model."""


class Recorder:
    """Takes what a process says of its model's predictions. Safe to use from any thread.

    ``clock`` gives seconds since the epoch.
    """

    def __init__(self, model: str, sink: Sink, clock: Callable[[], float] = time.time) -> None:
        self._model = model
        self._sink = sink
        self._clock = clock
        self._said: set[tuple[str, str]] = set()

    def record(self, given: Mapping[str, Any], model: Any = None, version: Any = None) -> bool:
        """Record one prediction, of the fields of an observation; whether it was queued."""
        now = self._clock()
        none = Rows(self._name(model), now, 0, version=_text(version))
        fields = plain_fields(
            {name: given[name] for name in FIELDS if given.get(name) is not None},
            lambda field, reason: self._refuse("record", none, field, reason, given.get(field), 1),
        )
        if not any(value is not None for name, value in fields.items() if name != "request_id"):
            self._nothing("record", none, 1)
            return False
        if none.version:
            fields["version"] = none.version
        return self._sink.submit(observation_of(none.model, _SOURCE, now, None, fields), _SOURCE)

    def record_batch(
        self,
        given: Mapping[str, Any],
        model: Any = None,
        version: Any = None,
        wait_seconds: float = 0.0,
    ) -> int:
        """Record predictions given as columns; how many rows were queued.

        What finds no place is dropped, at once or after it was waited for so long.
        """
        none = Rows(self._name(model), self._clock(), 0, version=_text(version))

        def refuse(field: str, reason: str, n: int) -> None:
            self._refuse("record_batch", none, field, reason, given.get(field.partition("[")[0]), n)

        try:
            rows = rows_of(none, given, refuse)
        except WrongLengths as error:
            self._say("record_batch", "lengths", "%s; %d rows are dropped", error, error.n)
            self._sink.refuse_rows(none, error.n, _SOURCE, "unreadable")
            return 0
        if not rows.n:
            return 0
        if not rows.predicts:
            self._nothing("record_batch", rows, rows.n)
            return 0
        return self._queue(rows, time.monotonic() + wait_seconds, _SOURCE)

    def record_rows(self, rows: Any, source: Source) -> None:
        """Record (n, d) embeddings of which nothing else is known, for a receiver that has come by them."""
        none = Rows(self._model, self._clock(), 0)
        made = rows_of(none, {"embedding": rows}, lambda *why: self._sink.refuse_value(none, *why))
        if made.predicts:
            self._queue(made, 0.0, source)
        else:
            self._sink.refuse_rows(none, made.n, source, "no_prediction")

    def _name(self, model: Any) -> str:
        return self._model if model is None else _text(model)

    def _queue(self, rows: Rows, deadline: float, source: Source) -> int:
        """Hand rows on, in blocks of what there is place for."""
        row_bytes = max(1, rows.row_bytes)
        most = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // row_bytes))
        start = queued = 0
        while start < rows.n:
            room = self._sink.room(rows, row_bytes)
            if room < 1:
                if time.monotonic() >= deadline:
                    self._sink.refuse_rows(rows, rows.n - start, source)
                    break
                time.sleep(_LOOK_AGAIN_SECONDS)
                continue
            stop = min(rows.n, start + min(most, room))
            if self._sink.submit(rows.part(start, stop), source):
                queued += stop - start
            start = stop
        return queued

    def _nothing(self, method: str, rows: Rows, n: int) -> None:
        self._say(method, "nothing", "nothing that was given is a prediction; %d are dropped", n)
        self._sink.refuse_rows(rows, n, _SOURCE, "no_prediction")

    def _refuse(self, method: str, rows: Rows, field: str, reason: str, value: Any, n: int) -> None:
        self._sink.refuse_value(rows, field, reason, n)
        self._say(
            method, f"{field} {reason}", "%s is refused, %s: it is %s", field, _WHY[reason], _described(value)
        )

    def _say(self, method: str, what: str, text: str, *arguments: Any) -> None:
        key = method, what
        if key not in self._said:
            self._said.add(key)
            log.warning(f"%s: {text} (said once)", method, *arguments)


_WHY = {
    "wrong_type": "since it is none of what this field can be",
    "wrong_shape": "since its shape is not that of this field",
    "not_finite": "since it is not finite",
    "out_of_range": "since it is not between 0 and 1",
}


def _text(name: Any) -> str:
    """A name that somebody gives; what is no text is no name, and empty."""
    return name if type(name) is str else ""


def _described(value: Any) -> str:
    """What a value is, in a few words that hold nothing of it."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    try:
        shape = getattr(value, "shape", None)
        dtype = getattr(value, "dtype", None)
        extra = f" of shape {tuple(shape)} and dtype {dtype}" if shape is not None else ""
        if not extra and isinstance(value, list | tuple):
            extra = f" of {len(value)}"
    except Exception:
        extra = ""
    return f"a {kind}{extra}"
