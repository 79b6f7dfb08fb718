"""What it costs to turn the bytes of a connection into exchanges and HTTP metrics.

``.venv/bin/python -m benchmarks.follower`` needs nothing else. The exchanges are those of
``benchmarks.proxy``: wrk's POST of 1 KiB and nginx's answer, each in one piece, over 16 connections that
stay open; every round the answers have another date. ``head, then body`` is the same in the pieces in
which Python's clients and servers send it, and ``heads unlike any before`` has a new one in each message.
Prints microseconds of processor time for an exchange, the median of the rounds, on a path that is not
captured and on one that is: through the follower alone, and with the HTTP metrics, in batches of 64.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from itertools import cycle

from prometheus_client import CollectorRegistry

from benchmarks.proxy import ANSWER, BODY, CAPTURED, CONNECTIONS, OTHER
from exporter.http.http1.follower import Http1Follower
from exporter.http.http1.transactions import Observer
from exporter.http.paths import path_matcher
from exporter.metrics.http import HttpMetrics

BATCH = 64
REQUEST = (
    b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"
    b"Content-Length: %d\r\n%s\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 01 Jan 1970 %02d:%02d:%02d GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n%s\r\n"
)
SHAPES = ("in one piece each", "head, then body", "heads unlike any before")


class Traffic:
    """Sixteen connections with the same kind of exchange on each.

    Parameters
    ----------
    shape
        Of ``SHAPES``.
    path
        That is asked for.
    metrics
        Whether the HTTP metrics count what was followed.
    """

    def __init__(self, shape: str, path: str, *, metrics: bool) -> None:
        match = path_matcher([CAPTURED])
        self.shape = shape
        self.path = path.encode()
        self.observer = Observer(
            lambda _, path: match(path) is not None, max_body_bytes=1 << 20, max_kept_bytes=1 << 26
        )
        self.metrics = HttpMetrics(match, CollectorRegistry()) if metrics else None
        self.followers = cycle([Http1Follower(self.observer) for _ in range(CONNECTIONS)])
        self.rounds = 0

    def round(self, batches: int) -> float:
        """Follow as many batches; return the microseconds of processor time for an exchange."""
        self.rounds += 1
        spent = 0.0
        for batch in range(batches):
            # As from a socket, each piece is an object of its own, made outside of what is timed.
            pieces = [
                (*self._messages(BATCH * batch + i), follower)
                for i, follower in zip(range(BATCH), self.followers, strict=False)
            ]
            began = time.process_time()
            self._batch(pieces)
            spent += time.process_time() - began
        return 1e6 * spent / (batches * BATCH)

    def _messages(self, i: int) -> tuple[list[bytes], list[bytes]]:
        """The pieces of the request and of the answer of exchange ``i`` of this round."""
        tag = (
            b"X-Request-Id: %d-%d\r\n" % (self.rounds, i) if self.shape == "heads unlike any before" else b""
        )
        date = (self.rounds // 3600 % 24, self.rounds // 60 % 60, self.rounds % 60)
        body, answer = bytes(bytearray(BODY)), ANSWER.encode()
        head = REQUEST % (self.path, len(body), tag)
        answer_head = RESPONSE % (*date, len(answer), tag)
        if self.shape == "head, then body":
            return [head, body], [answer_head, answer]
        return [head + body], [answer_head + answer]

    def _batch(self, pieces: list[tuple[list[bytes], list[bytes], Http1Follower]]) -> None:
        at = 1.7e9
        for request, answer, follower in pieces:
            for piece in request:
                follower.from_client(piece, at)
            for piece in answer:
                follower.from_upstream(piece, at + 0.0007)
        observer = self.observer
        exchanges, observer.exchanges = observer.exchanges, []
        summaries, observer.summaries = observer.summaries, []
        if len(exchanges) + len(summaries) != BATCH:
            raise SystemExit("not every exchange was followed")
        if self.metrics is not None:
            self.metrics.observe(exchanges)
            self.metrics.count(summaries)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batches", type=int, default=50)
    options = parser.parse_args()
    traffic = {
        (shape, name, metrics): Traffic(shape, path, metrics=metrics)
        for shape in SHAPES
        for name, path in (("not captured", OTHER), ("captured", CAPTURED))
        for metrics in (False, True)
    }
    times: dict[tuple[str, str, bool], list[float]] = {way: [] for way in traffic}
    gc.freeze()
    for _ in range(options.rounds):
        for way, one in traffic.items():
            times[way].append(one.round(options.batches))
    print("| exchange | path | follower, us | with HTTP metrics, us |")
    print("|---|---|---:|---:|")
    for shape in SHAPES:
        for name in ("not captured", "captured"):
            alone, counted = (statistics.median(times[shape, name, metrics]) for metrics in (False, True))
            print(f"| {shape} | {name} | {alone:.2f} | {counted:.2f} |")


if __name__ == "__main__":
    main()
