"""Segments of the data plane's capture log, read as HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.http.exchange import Exchange
from exporter.http.http1.follower import Http1Follower
from exporter.http.http1.heads import Select
from exporter.http.http1.states import UNOBSERVED_REASONS, Reason
from exporter.http.http1.transactions import ExchangeSummary, Observer
from exporter.receivers.proxy.capture_log import CLIENT, CLOSED, RESTART, STATE, UPSTREAM, Entry, Standing

logger = logging.getLogger(__name__)

Deliver = Callable[[list[Exchange], list[ExchangeSummary]], None]
"""Takes completed exchanges, wanted and not; must not wait."""


@dataclass(slots=True, eq=False)
class _Seen:
    """A connection as far as it has been read."""

    follower: Http1Follower
    entries: int = 0
    given_up: bool = False


class CaptureLogReader:
    """Turns segments into exchanges, and delivers those that each segment completes. Used from one thread.

    ``select``, ``max_body_bytes`` and ``max_kept_bytes`` are as of
    :class:`~exporter.http.http1.transactions.Observer`. ``unobserved`` counts the connections that are not
    followed to their end, by reason.
    """

    def __init__(
        self,
        select: Select,
        deliver: Deliver,
        *,
        max_body_bytes: int = 1024 * 1024,
        max_kept_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.unobserved: dict[str, int] = dict.fromkeys(UNOBSERVED_REASONS, 0)
        self.failures = 0
        self._deliver = deliver
        self.observer = Observer(select, max_body_bytes=max_body_bytes, max_kept_bytes=max_kept_bytes)
        self._seen: dict[int, _Seen] = {}

    def read(self, segment: Sequence[Entry]) -> list[Standing]:
        """Read a segment and deliver what it completes; gives the states that were asked for, and that of
        each connection of which nothing more has to be noted."""
        standings: list[Standing] = []
        connections = self._seen
        for number, what, data, at in segment:
            seen = connections.get(number)
            if seen is None:
                if what == CLOSED:
                    continue
                if what == RESTART and isinstance(data, int):
                    # What was seen of connections so far goes no further, nor what was not seen of others.
                    self.unobserved["overrun"] += data
                    for seen in connections.values():
                        seen.follower.give_up("overrun")
                    connections.clear()
                    continue
                seen = connections[number] = _Seen(Http1Follower(self.observer))
            reason: Reason | None
            try:
                if what == CLIENT and isinstance(data, bytes):
                    seen.follower.from_client(data, at)
                elif what == UPSTREAM and isinstance(data, bytes):
                    seen.follower.from_upstream(data, at)
                elif what == STATE:
                    standings.append((number, seen.entries, seen.follower.state))
                    continue
                elif what == CLOSED:
                    del connections[number]
                    seen.follower.closed(at, client_left=bool(data))
                elif what == CLIENT and isinstance(data, tuple):
                    seen.follower.client_gap(*data)
                elif isinstance(data, tuple):
                    seen.follower.upstream_gap(data[0], at, data[1])
                reason = seen.follower.reason
            except Exception:
                self.failures += 1
                logger.exception("reading a connection failed; it goes on unobserved")
                reason = "failed"
            seen.entries += 1
            if reason is not None and not seen.given_up:
                seen.given_up = True
                self.unobserved[reason] += 1
                seen.follower.give_up(reason)
                standings.append((number, seen.entries, seen.follower.state))
        observer = self.observer
        if observer.exchanges or observer.summaries:
            exchanges, observer.exchanges = observer.exchanges, []
            summaries, observer.summaries = observer.summaries, []
            try:
                self._deliver(exchanges, summaries)
            except Exception:
                self.failures += 1
                logger.exception("%d exchanges could not be delivered", len(exchanges) + len(summaries))
        return standings

    def forget_heads(self) -> None:
        """Ask ``select`` anew, also of requests like those seen before."""
        self.observer.requests.clear()
        for seen in self._seen.values():
            seen.follower.forget_heads()
