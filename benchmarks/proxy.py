"""What the sidecar costs in front of a service, beside nginx and beside forwarding as people write it.

``.venv/bin/python -m benchmarks.proxy`` needs Debian's ``nginx-light`` and ``wrk``, and ``aiohttp``. The
service is nginx with a fixed answer; requests are POSTs of 1 KiB over 16 connections. Every front is one
process, but for the sidecar, whose analyzer reads in a second one what the first has forwarded: nginx
``proxy_pass`` with keep-alive, ``inference-exporter sidecar`` asked on a path that it does not capture and on
one that it does (fields read, all metrics, online MMD on every observation), and, for scale, uvicorn with
aiohttp's client and FastAPI with httpx. Runs alternate; the figures are medians over rounds, and each ratio
is the median of the rounds' ratios.

Three loads: as fast as it goes (``fast``; wrk, closed loop); 5,000 requests a second (``steady``), and 200
(``quiet``), with the open-loop client of ``benchmarks.open_loop``. ``--loads`` chooses among them.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.open_loop import post
from benchmarks.open_loop import run as open_loop

ROOT = Path(__file__).parent.parent
CONNECTIONS = 16
BODY = b"x" * 1024
CAPTURED, OTHER = "/predict", "/other"
EMBEDDING = [round(0.1 * i - 0.8, 1) for i in range(16)]
ANSWER = json.dumps({"prediction": "cat", "probability": 0.93, "embedding": EMBEDDING})
LEAST = {"sidecar, path not captured": 0.8, "sidecar, captured path": 0.5}
LOADS = ("fast", "steady", "quiet")
MOST_P99_RATIO, MOST_ADDED_P50_MS = 2.0, 0.3

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {server}
}}
"""
ORIGIN = """server {{ listen 127.0.0.1:{port};
  location / {{ default_type application/json; return 200 '{answer}'; }} }}"""
PASS = """upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""
CONFIG = """
model: bench
capture:
  paths: ["{captured}"]
  payload: fields
  fields: {{predicted_class: prediction, confidence: probability, embedding: embedding}}
drift:
  - {{detector: mmd, reference: {folder}/reference.npy, window: 50, expected_run_length: 10000}}
sidecar: {{upstream: "http://127.0.0.1:{origin}", listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
"""
LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = string.rep("x", 1024)
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('JSON {"requests": %d, "microseconds": %d, "errors": %d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Front:
    """Something that answers for the service: its port, the path to ask, and its process, if it has one."""

    port: int
    path: str
    pid: int | None = None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def process(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """Run a command until the block ends; it has answered on ``port`` when the block begins."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    running = subprocess.Popen(command, env=env)
    try:
        for _ in range(1200):
            if running.poll() is not None:
                raise SystemExit(f"{command[0]} ended with code {running.returncode}")
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}{CAPTURED}", BODY)
                urllib.request.urlopen(request, timeout=5).read()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise SystemExit(f"{command[0]} does not answer on port {port}")
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def nginx(folder: Path, name: str, server: str, port: int, **values: object) -> Iterator[int]:
    """A nginx of one worker."""
    home = folder / name
    home.mkdir()
    conf = home / "nginx.conf"
    conf.write_text(NGINX.format(folder=home, server=server.format(port=port, **values)))
    return process(["nginx", "-c", str(conf)], port)


def start(stack: ExitStack, folder: Path, names: list[str]) -> dict[str, Front]:
    """Start the service and the fronts that are asked for."""
    origin = free_port()
    stack.enter_context(nginx(folder, "origin", ORIGIN, origin, answer=ANSWER))
    fronts = {"direct": Front(origin, CAPTURED)}
    if "nginx" in names:
        port = free_port()
        pid = stack.enter_context(nginx(folder, "pass", PASS, port, origin=origin))
        fronts["nginx"] = Front(port, CAPTURED, pid)
    if any(name.startswith("sidecar") for name in names):
        port, admin = free_port(), free_port()
        rows = np.random.default_rng(1).normal(size=(1000, len(EMBEDDING)))
        np.save(folder / "reference.npy", rows)
        config = folder / "exporter.yaml"
        config.write_text(
            CONFIG.format(captured=CAPTURED, folder=folder, origin=origin, port=port, admin=admin)
        )
        command = [sys.executable, "-c", "from exporter.cli.main import main; main()", "sidecar"]
        arguments = ["--config", str(config), "--log-level", "error"]
        pid = stack.enter_context(process([*command, *arguments], port))
        _wait_until_ready(admin)
        fronts["sidecar, path not captured"] = Front(port, OTHER, pid)
        fronts["sidecar, captured path"] = Front(port, CAPTURED, pid)
        print(f"sidecar: pid {pid}, metrics on http://127.0.0.1:{admin}/metrics", file=sys.stderr)
    for name, app in (("uvicorn + aiohttp", "aiohttp_app"), ("FastAPI + httpx", "fastapi_app")):
        if name in names:
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", f"benchmarks.proxy_peers:{app}", "--port", str(port)]
            options = ["--log-level", "error", *(["--factory"] if app == "fastapi_app" else [])]
            upstream = f"http://127.0.0.1:{origin}"
            pid = stack.enter_context(process([*command, *options], port, UPSTREAM=upstream))
            fronts[name] = Front(port, CAPTURED, pid)
    return {name: fronts[name] for name in names}


def _wait_until_ready(admin: int) -> None:
    """Wait until the detector is calibrated."""
    for _ in range(1200):
        text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5).read().decode()
        if re.search(r'drift_detector_state\{[^}]*state="(filling|ready)"[^}]*\} 1\.0', text):
            return
        time.sleep(0.1)
    raise SystemExit("the detector does not become ready")


def fastest(front: Front, seconds: float, script: Path) -> float:
    """Requests a second, as many as go."""
    url = f"http://127.0.0.1:{front.port}{front.path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(script), url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(re.findall(r"JSON (.*)", text)[0])
    if found["errors"]:
        raise SystemExit(f"{url}: {found['errors']} errors")
    if not found["requests"]:
        raise SystemExit(f"{url}: no answer in {seconds:g} s; the machine is too busy to measure anything")
    return 1e6 * float(found["requests"]) / float(found["microseconds"])


def paced(front: Front, rate: float, seconds: float) -> dict[str, float]:
    """Latencies in milliseconds at a fixed rate."""
    return open_loop(front.port, post(front.path, BODY), rate=rate, seconds=seconds, connections=CONNECTIONS)


def cpu_seconds(pid: int | None) -> float:
    """Processor time that a process and its children have used."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    mine = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return mine + sum(cpu_seconds(int(child)) for child in children)


def ratio(mine: list[float], theirs: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def main() -> int:
    """Run all loads on all fronts and print the table; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8, help="for each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=5000, help="of the open-loop load")
    parser.add_argument("--settle", type=float, default=1, help="seconds between runs, for queues to empty")
    parser.add_argument("--no-scale", action="store_true", help="leave out aiohttp and FastAPI")
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=LOADS)
    given = parser.parse_args()
    names = ["direct", "nginx", *LEAST]
    scale = [] if given.no_scale or "fast" not in given.loads else ["uvicorn + aiohttp", "FastAPI + httpx"]
    throughput: dict[str, list[float]] = {name: [] for name in (*names, *scale)}
    cpu: dict[str, list[float]] = {name: [] for name in (*names, *scale)}
    p99: dict[str, list[float]] = {name: [] for name in names}
    p50: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        folder = Path(text)
        script = folder / "post.lua"
        script.write_text(LUA)
        fronts = start(stack, folder, [*names, *scale])
        for number in range(given.rounds):
            for name, front in fronts.items():
                line = f"round {number + 1}: {name}"
                if "fast" in given.loads:
                    used = cpu_seconds(front.pid)
                    throughput[name].append(fastest(front, given.seconds, script))
                    spent = cpu_seconds(front.pid) - used
                    cpu[name].append(1e6 * spent / (throughput[name][-1] * given.seconds))
                    time.sleep(given.settle)
                    line += f", {throughput[name][-1]:,.0f}/s, {cpu[name][-1]:.1f} us of CPU each"
                if name in names and "steady" in given.loads:
                    fixed = paced(front, given.rate, given.seconds)
                    p99[name].append(fixed["p99"])
                    time.sleep(given.settle)
                    line += f", p50 {fixed['p50']:.3f} p99 {p99[name][-1]:.3f} ms at {given.rate:,.0f}/s"
                    if fixed["errors"] or fixed["unanswered"]:
                        line += f" ({fixed['unanswered']} unanswered, {fixed['errors']} errors)"
                if name in names and "quiet" in given.loads:
                    p50[name].append(paced(front, 200, given.seconds)["p50"])
                    line += f", p50 {p50[name][-1]:.3f} ms at 200/s"
                print(line, file=sys.stderr, flush=True)
    return report(throughput, cpu, p99, p50, given.rate)


def report(
    throughput: dict[str, list[float]],
    cpu: dict[str, list[float]],
    p99: dict[str, list[float]],
    p50: dict[str, list[float]],
    rate: float,
) -> int:
    """Print the table, with what was measured; 1 if a bound is missed."""
    median = statistics.median
    load = f"p99 at {rate:,.0f}/s, ms"
    print(f"| front | requests/s | of nginx | CPU each, us | {load} | of nginx | added p50 at 200/s, ms |")
    print("|---|---|---|---|---|---|---|")
    missed: list[str] = []
    for name, rates in throughput.items():
        row = f"| {name} |"
        if rates:
            of_nginx = ratio(rates, throughput["nginx"])
            row += f" {median(rates):,.0f} | {of_nginx:.2f} | {median(cpu[name]):.1f} |"
            if of_nginx < LEAST.get(name, 0.0):
                missed.append(f"{name}: {of_nginx:.2f} of nginx's throughput, not {LEAST[name]}")
        else:
            row += " | | |"
        if p99.get(name):
            tail = ratio(p99[name], p99["nginx"])
            row += f" {median(p99[name]):.2f} | {tail:.2f} |"
            if name in LEAST and tail > MOST_P99_RATIO:
                missed.append(f"{name}: p99 {tail:.2f} times nginx's, not {MOST_P99_RATIO}")
        else:
            row += " | |"
        if p50.get(name):
            added = median(a - b for a, b in zip(p50[name], p50["direct"], strict=True))
            row += f" {added:.3f} |"
            if name in LEAST and added > MOST_ADDED_P50_MS:
                missed.append(f"{name}: p50 {added:.3f} ms above direct, not {MOST_ADDED_P50_MS}")
        else:
            row += " |"
        print(row)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
