"""What the hook costs a service, beside no drift test at all and beside the usual hand-made arrangement.

``.venv/bin/python -m benchmarks.hook`` needs ``wrk``, and ``.venv-alibi`` for the arrangement ``executor``.
One service with prometheus-fastapi-instrumentator is loaded by 8 connections, alone, with our hook, and with
alibi-detect's online MMD in a pool of two threads; drift is tested on every request (N = 1000, d = 64,
W = 50). The embedding stands in the response (``hook``), is given by ``observe()`` in the handler, or taken
from a torch module (``watch``), each beside the same service without us.

All of them are up at the same time and are loaded in turn, for moments, in an order drawn anew each time: a
machine whose speed changes changes it for all. Every round starts them afresh, since how a process happens to
lie in memory matters too. Figures are medians over all loads, and so are the ratios, each of loads of one
turn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hook_service import ARRANGEMENTS, OURS
from benchmarks.proxy import cpu_seconds

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "benchmarks" / "hook_service.py"
PYTHONS = dict.fromkeys(ARRANGEMENTS, sys.executable) | {"executor": ROOT / ".venv-alibi/bin/python"}
PEERS = {
    name: f"alone-{way}" if (way := name.removeprefix("alone-")) in ("observe", "watch") else "alone"
    for name in ARRANGEMENTS
}
NAMES = {
    "alone": "instrumentator alone, embedding in the response",
    "hook": "with the hook",
    "executor": "alibi-detect in a two-thread executor",
    "alone-observe": "instrumentator alone, no embedding in the response",
    "observe": "with the hook, `observe(embedding=row)`",
    "alone-watch": "instrumentator alone, a torch module answers",
    "watch": "with the hook, `watch(module)`",
}
LEAST_THROUGHPUT, MOST_P99 = 0.88, 1.20
LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"image": "%s"}'
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'JSON {"requests": %%d, "microseconds": %%d, "errors": %%d, "p50": %%.1f, "p99": %%.1f}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Figures:
    """One load: requests a second, latencies in milliseconds, memory in MB, observations lost."""

    throughput: float
    p50: float
    p99: float
    rss: float
    lost: float


@contextmanager
def service(arrangement: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A fresh process that serves an arrangement, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [PYTHONS[arrangement], SERVICE, arrangement, folder, str(port)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(process, f"{address}/metrics")
        yield process, address
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"the service ended with {process.returncode}") from None
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the service did not start within a minute")


def load(address: str, seconds: float, script: Path, connections: int = 8) -> dict[str, float]:
    """What wrk says."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", script]
    output = subprocess.run(
        [*command, f"{address}/predict"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"^JSON (.*)$", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk said: {output}")
    return json.loads(found[1])


def measure(process: subprocess.Popen[bytes], address: str, seconds: float, script: Path) -> Figures:
    """One load."""
    result = load(address, seconds, script)
    if result["errors"]:
        raise SystemExit(f"{address}: {result['errors']:.0f} requests failed")
    status = Path(f"/proc/{process.pid}/status").read_text()
    rss = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
    scrape = urllib.request.urlopen(f"{address}/metrics", timeout=60).read().decode()
    lost = re.findall(r"^inference_exporter_dropped_total\{.*\} (\S+)$", scrape, re.MULTILINE)
    return Figures(
        throughput=result["requests"] / result["microseconds"] * 1e6,
        p50=result["p50"] / 1000,
        p99=result["p99"] / 1000,
        rss=rss,
        lost=sum(map(float, lost)),
    )


def round_of(
    arrangements: list[str], folder: Path, loads: int, seconds: float, script: Path, rng: random.Random
) -> list[dict[str, Figures]]:
    """Start the arrangements, warm them up, and load each of them ``loads`` times."""
    with ExitStack() as running:
        up = {name: running.enter_context(service(name, folder)) for name in arrangements}
        for process, address in up.values():
            load(address, 3, script)
            _wait_until_idle(process)
        found = []
        for _ in range(loads):
            figures = {}
            for name in rng.sample(arrangements, len(arrangements)):
                process, address = up[name]
                figures[name] = measure(process, address, seconds, script)
                _wait_until_idle(process)  # what is left to do would be charged to the next one
            found.append({name: figures[name] for name in arrangements})
        return found


def _wait_until_idle(process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        before = cpu_seconds(process.pid)
        time.sleep(0.2)
        if cpu_seconds(process.pid) - before < 0.02:
            return
    raise SystemExit("the service does not come to rest")


def ratios(pairs: list[dict[str, Figures]], arrangement: str, field: str) -> float:
    """The median of an arrangement's figure over that of its peer, in loads of the same turn."""
    peer = PEERS[arrangement]
    return statistics.median(getattr(p[arrangement], field) / getattr(p[peer], field) for p in pairs)


def report(pairs: list[dict[str, Figures]]) -> str:
    """The table, in Markdown."""
    lines = [
        "| arrangement | requests/s | p50 ms | p99 ms | RSS MB | throughput | p50 | p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arrangement in pairs[0]:
        runs = [figures[arrangement] for figures in pairs]
        cells = [
            f"{statistics.median(run.throughput for run in runs):.0f}",
            f"{statistics.median(run.p50 for run in runs):.2f}",
            f"{statistics.median(run.p99 for run in runs):.2f}",
            f"{statistics.median(run.rss for run in runs):.0f}",
            *(f"{ratios(pairs, arrangement, field):.2f}" for field in ("throughput", "p50", "p99")),
        ]
        lines.append(f"| {NAMES[arrangement]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(pairs: list[dict[str, Figures]], arrangement: str) -> bool:
    """Whether one of ours stays within its bounds; said in a line."""
    throughput, p99 = (ratios(pairs, arrangement, field) for field in ("throughput", "p99"))
    lost = max(figures[arrangement].lost for figures in pairs)
    kept = throughput >= LEAST_THROUGHPUT and p99 <= MOST_P99
    print(
        f"{arrangement} / {PEERS[arrangement]}: throughput {throughput:.3f} (at least {LEAST_THROUGHPUT}), "
        f"p99 {p99:.3f} (at most {MOST_P99}), observations lost {lost:.0f}: {'OK' if kept else 'MISSED'}"
    )
    return kept


def main() -> None:
    """Measure, and say whether the hook stays within its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--loads", type=int, default=12, help="of each arrangement, in a round")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a load; whole ones, for wrk")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--only", nargs="+", default=list(ARRANGEMENTS), choices=ARRANGEMENTS)
    arguments = parser.parse_args()
    chosen = [name for name in ARRANGEMENTS if name in {*arguments.only, *map(PEERS.get, arguments.only)}]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "post.lua"
        script.write_text(LUA % ("x" * 513))
        for arrangement in {"hook", *chosen} & {"hook", "executor"}:
            subprocess.run(
                [PYTHONS[arrangement], SERVICE, "prepare", arrangement, folder],
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                check=True,
            )
        pairs: list[dict[str, Figures]] = []
        rng = random.Random(arguments.seed)
        for number in range(arguments.rounds):
            found = round_of(chosen, folder, arguments.loads, arguments.seconds, script, rng)
            pairs += found
            print(f"round {number + 1}\n{report(found)}", file=sys.stderr, flush=True)
    print(f"{report(pairs)}\n")
    kept = [verdict(pairs, name) for name in OURS if name in chosen]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
