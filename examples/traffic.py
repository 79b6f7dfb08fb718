"""Send requests to a service in a given shape of load, and count what comes back."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

SHAPES: dict[str, tuple[int, ...]] = {
    "constant": (3,),
    "ramp": (1, 2, 3, 5, 3, 2, 1),
    "errors": (1, 3, 5, 10, 5, 3, 1),
}
"""Workers that send at the same time, step after step; the steps last equally long."""


@dataclass(slots=True)
class Tally:
    """What was sent and what came back."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    predictions: Counter[str] = field(default_factory=Counter)
    probability_sum: float = 0.0

    @property
    def answered(self) -> int:
        """Requests that got a prediction."""
        return self.statuses[200]

    @property
    def mean_probability(self) -> float:
        """Mean of the probabilities in the answers; NaN if there was none."""
        return self.probability_sum / self.answered if self.answered else float("nan")

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{self.sent} requests"]
        parts += [f"{count} x {status}" for status, count in sorted(self.statuses.items())]
        parts += [f"{count} x {name}" for name, count in sorted(self.failures.items())]
        if self.answered:
            parts.append(f"mean probability {self.mean_probability:.3f}")
            parts.append(" ".join(f"{name}:{n}" for name, n in sorted(self.predictions.items())))
        return ", ".join(parts)


async def send_traffic(
    url: str,
    payloads: Iterator[Any],
    *,
    steps: tuple[int, ...] = SHAPES["constant"],
    seconds: float = 30.0,
    requests_per_worker_second: float = 15.0,
    count: int | None = None,
    tally: Tally | None = None,
) -> Tally:
    """POST payloads as JSON until the steps are over, or ``count`` of them were sent.

    Parameters
    ----------
    url
        Full address, for example ``http://127.0.0.1:8000/predict``.
    payloads
        Where the bodies come from; taken in order, whichever worker sends them.
    steps
        Workers at the same time, one number for each step.
    seconds
        Length of all steps together.
    requests_per_worker_second
        A worker starts no more than this many requests a second, and never two at a time.
    count
        Stop after this many requests; ``seconds`` is then the length of one round of the steps, and
        the last step goes on as long as it takes.
    tally
        Counts are added to it while the traffic runs, so that others can look.
    """
    tally = Tally() if tally is None else tally
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
        for index, workers in enumerate(steps):
            endless = count is not None and index == len(steps) - 1
            end = float("inf") if endless else loop.time() + seconds / len(steps)
            await asyncio.gather(
                *(
                    _work(client, url, payloads, end, 1.0 / requests_per_worker_second, count, tally)
                    for _ in range(workers)
                )
            )
    return tally


async def _work(
    client: httpx.AsyncClient,
    url: str,
    payloads: Iterator[Any],
    end: float,
    interval: float,
    count: int | None,
    tally: Tally,
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while loop.time() < end and (count is None or tally.sent < count):
        tally.sent += 1
        try:
            answer = await client.post(url, json=next(payloads))
        except httpx.HTTPError as error:
            tally.failures[type(error).__name__] += 1
        else:
            _record(tally, answer)
        # A worker that fell behind does not catch up with a burst.
        due = max(due + interval, loop.time())
        await asyncio.sleep(min(due, end) - loop.time())


def _record(tally: Tally, answer: httpx.Response) -> None:
    tally.statuses[answer.status_code] += 1
    if answer.status_code == httpx.codes.OK:
        body = answer.json()
        tally.predictions[str(body["prediction"])] += 1
        tally.probability_sum += float(body["probability"])


def run_command(
    description: str, phases: tuple[str, ...], make: Callable[[str, int], Iterator[Any]], path: str
) -> None:
    """Be the command line of an example's traffic.

    Parameters
    ----------
    phases
        Kinds of requests that ``make(phase, seed)`` knows; the first is the default.
    path
        Where the service takes them.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    parser.add_argument("--phase", choices=phases, default=phases[0], help="what to send")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="constant", help="how the load varies")
    parser.add_argument("--seconds", type=float, default=30.0, help="for all steps together")
    parser.add_argument("--rate", type=float, default=15.0, help="requests a second of each worker, at most")
    parser.add_argument("--seed", type=int, default=0, help="the same seed sends the same bodies")
    arguments = parser.parse_args()
    steps = SHAPES[arguments.shape]
    print(f"{arguments.phase} requests to {arguments.url}{path}, workers {', '.join(map(str, steps))}")
    traffic = send_traffic(
        arguments.url.rstrip("/") + path,
        make(arguments.phase, arguments.seed),
        steps=steps,
        seconds=arguments.seconds,
        requests_per_worker_second=arguments.rate,
    )
    try:
        tally = asyncio.run(traffic)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(tally.summary())
    if not tally.statuses:
        raise SystemExit(f"nothing answered at {arguments.url}; start the service first")
