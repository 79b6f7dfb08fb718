"""Segments of the data plane's capture log, read as HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from exporter.http.exchange import Exchange
from exporter.http.http1.follower import KINDS, Http1Follower, Kind, Observer, Passed
from exporter.http.http1.heads import Select
from exporter.receivers.proxy.capture_log import ASKED, CLIENT, CLOSED, OVERRUN, UPSTREAM, Entry, Standing

logger = logging.getLogger(__name__)

Deliver = Callable[[list[Exchange], list[Passed]], None]
"""Takes completed exchanges, wanted and not; must not wait."""


class _Seen:
    """A connection as far as it has been read."""

    __slots__ = ("entries", "follower", "given_up")

    def __init__(self, observer: Observer) -> None:
        self.follower = Http1Follower(observer)
        self.entries = 0
        self.given_up = False


class CaptureLogReader:
    """Turns segments into exchanges. Used from one thread.

    Parameters
    ----------
    select
        (method, path) to whether an exchange's headers and bodies are wanted.
    deliver
        Gets the completed exchanges of each segment.
    max_body_bytes
        Of one kept body.
    max_kept_bytes
        Of the bodies of all exchanges that are under way.
    """

    def __init__(
        self,
        select: Select,
        deliver: Deliver,
        *,
        max_body_bytes: int = 1024 * 1024,
        max_kept_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.unfollowed: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.failures = 0
        self._deliver = deliver
        self._shared = Observer(select, max_body_bytes=max_body_bytes, max_kept_bytes=max_kept_bytes)
        self._seen: dict[int, _Seen] = {}

    def read(self, segment: Sequence[Entry]) -> list[Standing]:
        """Read a segment and deliver what it completes.

        Gives the phases that were asked for, and "unfollowed" for each connection of which nothing
        more has to be noted.
        """
        standings: list[Standing] = []
        connections = self._seen
        for number, what, data, at in segment:
            seen = connections.get(number)
            if seen is None:
                if what == CLOSED:
                    continue
                seen = connections[number] = _Seen(self._shared)
            try:
                if what == CLIENT and isinstance(data, bytes):
                    seen.follower.from_client(data, at)
                elif what == UPSTREAM and isinstance(data, bytes):
                    seen.follower.from_upstream(data, at)
                elif what == ASKED:
                    standings.append((number, seen.entries, seen.follower.phase))
                    continue
                else:
                    self._read_rare(seen, (number, what, data, at))
                seen.entries += 1
                kind = seen.follower.kind
                if kind is not None and not seen.given_up:
                    self._give_up(seen, kind)
                    standings.append((number, seen.entries, "unfollowed"))
            except Exception:
                self.failures += 1
                logger.exception("reading a connection failed; it goes on unobserved")
                seen.entries += 1
                self._give_up(seen, "failed")
                standings.append((number, seen.entries, "unfollowed"))
        shared = self._shared
        if shared.exchanges or shared.passed:
            exchanges, shared.exchanges = shared.exchanges, []
            passed, shared.passed = shared.passed, []
            try:
                self._deliver(exchanges, passed)
            except Exception:
                self.failures += 1
                logger.exception("%d exchanges could not be delivered", len(exchanges) + len(passed))
        return standings

    def forget_heads(self) -> None:
        """Ask ``select`` anew, also of requests like those seen before."""
        self._shared.heads.forget()
        for seen in self._seen.values():
            seen.follower.forget_heads()

    def _read_rare(self, seen: _Seen, entry: Entry) -> None:
        """Read an entry other than a chunk of bytes."""
        number, what, data, at = entry
        if what == CLOSED:
            del self._seen[number]
            seen.follower.closed(at)
        elif what == OVERRUN:
            seen.follower.give_up("overrun")
        elif isinstance(data, tuple):
            n_bytes, tail = data
            if what == CLIENT:
                seen.follower.client_gap(n_bytes, tail)
            else:
                seen.follower.upstream_gap(n_bytes, at, tail)

    def _give_up(self, seen: _Seen, kind: Kind) -> None:
        if not seen.given_up:
            seen.given_up = True
            self.unfollowed[kind] += 1
            seen.follower.give_up(kind)
