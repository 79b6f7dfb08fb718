"""What the hook costs a service, beside no drift test at all and beside the usual hand-made arrangement.

``.venv/bin/python -m benchmarks.hook`` needs ``wrk``, and ``.venv-alibi`` for the third arrangement. One
service with prometheus-fastapi-instrumentator is loaded by 8 connections, alone, with our hook, and with
alibi-detect's online MMD in a pool of two threads; drift is tested on every request (N = 1000, d = 64,
W = 50). Runs alternate, each in a fresh process; the figures are medians over rounds, and each ratio is
the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hook_service import ARRANGEMENTS

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "benchmarks" / "hook_service.py"
PYTHONS = {"alone": sys.executable, "hook": sys.executable, "executor": ROOT / ".venv-alibi/bin/python"}
LEAST_THROUGHPUT, MOST_P99 = 0.90, 1.30
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
    """One run: requests a second, latencies in milliseconds, memory in MB, observations lost."""

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


def measure(arrangement: str, folder: Path, seconds: float, script: Path) -> Figures:
    """One run in a fresh process, after a warm-up."""
    with service(arrangement, folder) as (process, address):
        load(address, max(2.0, seconds / 4), script)
        result = load(address, seconds, script)
        if result["errors"]:
            raise SystemExit(f"{arrangement}: {result['errors']:.0f} requests failed")
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


def report(rounds: list[dict[str, Figures]]) -> str:
    """The table, in Markdown."""
    names = {
        "alone": "instrumentator alone",
        "hook": "with the hook, drift on every request",
        "executor": "alibi-detect in a two-thread executor",
    }
    lines = [
        "| arrangement | requests/s | p50 ms | p99 ms | RSS MB | throughput | p50 | p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arrangement in rounds[0]:
        runs = [figures[arrangement] for figures in rounds]
        ratios = [
            statistics.median(
                getattr(figures[arrangement], field) / getattr(figures["alone"], field) for figures in rounds
            )
            for field in ("throughput", "p50", "p99")
        ]
        cells = [
            f"{statistics.median(run.throughput for run in runs):.0f}",
            f"{statistics.median(run.p50 for run in runs):.2f}",
            f"{statistics.median(run.p99 for run in runs):.2f}",
            f"{statistics.median(run.rss for run in runs):.0f}",
            *(f"{ratio:.2f}" for ratio in ratios),
        ]
        lines.append(f"| {names[arrangement]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and say whether the hook stays within its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", default=list(ARRANGEMENTS), choices=ARRANGEMENTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "post.lua"
        script.write_text(LUA % ("x" * 513))
        for arrangement in set(arguments.only) - {"alone"}:
            subprocess.run(
                [PYTHONS[arrangement], SERVICE, "prepare", arrangement, folder],
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                check=True,
            )
        rounds = []
        for number in range(arguments.rounds):
            order = arguments.only if number % 2 == 0 else arguments.only[::-1]
            figures = {name: measure(name, folder, arguments.seconds, script) for name in order}
            rounds.append({name: figures[name] for name in arguments.only})
            print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
    print(report(rounds))
    if "hook" in rounds[0] and "alone" in rounds[0]:
        throughput = statistics.median(r["hook"].throughput / r["alone"].throughput for r in rounds)
        p99 = statistics.median(r["hook"].p99 / r["alone"].p99 for r in rounds)
        lost = sum(r["hook"].lost for r in rounds)
        kept = throughput >= LEAST_THROUGHPUT and p99 <= MOST_P99
        print(f"\nhook / alone: throughput {throughput:.3f} (at least {LEAST_THROUGHPUT}), ", end="")
        print(
            f"p99 {p99:.3f} (at most {MOST_P99}), observations lost {lost:.0f}: {'OK' if kept else 'MISSED'}"
        )
        sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
