"""Minutes of good and hostile traffic through a sidecar whose processes are killed and stopped all the while.

``.venv/bin/python -m benchmarks.sidecar_soak --minutes 30`` asks: is every response the right one, is the
ledger exact at each scrape, are probes answered throughout, and does the memory of each process stay bounded?

Every few seconds one thing happens in turn: the analyzer is killed, stopped for a moment, stopped until it is
replaced, or told to read its configuration again; the data plane is stopped for a moment, or killed and
started anew, as an orchestrator would. What clients saw within a second of the latter two is not counted
against it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOKEN = "soak-token"
PARTS = ("observations_total", "processed_total", "dropped_total", "sampled_out_total", "queued")
CONFIG = """
model: soak
capture: {paths: [/predict]}
drift: [{reference: {learn: 1000}, window: 50, sample: {max_per_second: 50}}]
ingest: {enabled: true}
"""
MOST_MEGABYTES = {"data plane": 150.0, "analyzer": 360.0}
MOST_PROBE_SECONDS = 2.0
EVENTS = ("kill analyzer", "pause analyzer", "hang analyzer", "reload", "pause data plane", "kill data plane")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def upstream(port: int) -> None:
    """A service that says what it is told to; it knows as much HTTP as the traffic below needs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Exception):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b"{}"
                said = json.loads(body).get("say", "nothing")
                numbers = [random.random() for _ in range(16)]
                out = json.dumps({"prediction": said, "probability": 0.75, "embedding": numbers}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(out), out))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 20)
    await server.serve_forever()


class Soak:
    """A sidecar, what is done to it, and what is seen of it."""

    def __init__(self, folder: Path, upstream_port: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.file = folder / "exporter.yaml"
        self.file.write_text(CONFIG)
        self.log = (folder / "log").open("wb")
        self.upstream, self.listen, self.admin = upstream_port, free_port(), free_port()
        self.over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest_probe = 0.0
        self.memory: dict[str, float] = dict.fromkeys(MOST_MEGABYTES, 0.0)
        self.excused_until = 0.0
        self.start()

    def start(self) -> None:
        """Start a sidecar, and wait until it can serve."""
        self.child = subprocess.Popen(
            [
                sys.executable, "-c", "from exporter.cli.main import main; main()", "sidecar",
                "--upstream", f"http://127.0.0.1:{self.upstream}", "--listen", f"127.0.0.1:{self.listen}",
                "--admin", f"127.0.0.1:{self.admin}", "--config", str(self.file),
            ],
            env={**os.environ, "INFERENCE_EXPORTER__ADMIN__TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
            stdout=self.log,
            stderr=self.log,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask(self.admin, "GET", "/-/ready", timeout=1)[0] == 200:
                    return
            time.sleep(0.1)
        raise SystemExit("the sidecar did not become ready within a minute")

    def analyzer(self) -> int | None:
        """The analyzer's process id, if there is one."""
        with contextlib.suppress(OSError, LookupError):
            pid = self.child.pid
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return None

    def ask(
        self, port: int, method: str, path: str, body: bytes | None = None, timeout: float = 20.0
    ) -> tuple[int, str]:
        """Status and body of a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    # What is done and seen, each on a thread of its own, again and again.

    def predict(self) -> None:
        """Good traffic: each response has to be the one to its request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.listen, timeout=20)
        try:
            for number in range(50):
                said = f"c{threading.get_ident() % 7}{number % 3}"
                connection.request("POST", "/predict", json.dumps({"say": said}))
                response = connection.getresponse()
                body = response.read()
                self.counts[f"responses {response.status}"] += 1
                if response.status != 200:
                    self.complain(f"a response of {response.status}: {body[:80]!r}")
                elif json.loads(body)["prediction"] != said:
                    self.wrong.append(f"a response to another request: {body!r} for {said}")
                time.sleep(0.002)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.complain(f"a request failed: {error!r}")
        finally:
            connection.close()

    def attack(self) -> None:
        """Hostile traffic at either port."""
        kind = self.rng.randrange(7)
        fields = b"".join(b"a%d: b\r\n" % n for n in range(500))
        data = {
            0: b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % fields * 20,
            1: b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2\r\n{}\r\n" * 20_000,
            2: b"POST /predict HTTP/1.1\r\nX: " + b"y" * 60_000,
            3: self.rng.randbytes(10_000),
            4: b"POST /predict HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n" + b"[" * 200_000,
            5: b"GET /metr",
            6: b"POST /v1/observations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n" + b" " * 1_000_000,
        }[kind]  # fmt: skip
        port = self.admin if kind > 4 else self.listen
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for _ in range(20 if kind in (2, 5) else 2):
                sock = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=2))
                sock.sendall(data)
            time.sleep(self.rng.random())
        self.counts["attacks"] += 1

    def probe(self) -> None:
        """Both probes have to be answered at once, whatever happens to the analyzer."""
        started = time.monotonic()
        try:
            found = [self.ask(self.admin, "GET", path)[0] for path in ("/-/healthy", "/-/ready")]
            if found != [200, 200]:
                self.complain(f"the probes answered {found}")
        except (OSError, http.client.HTTPException) as error:
            self.complain(f"the probes failed: {error!r}")
        took = time.monotonic() - started
        self.counts["probes"] += 2
        if time.monotonic() > self.excused_until:
            self.slowest_probe = max(self.slowest_probe, took)
        time.sleep(0.2)

    def scrape(self) -> None:
        """Each scrape that there is has to be exact; look at the memory too."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, text = self.ask(self.admin, "GET", "/metrics", timeout=60)
            self.counts[f"scrapes {status}"] += 1
            if status == 200:
                found = {
                    part: sum(
                        float(value)
                        for value in re.findall(rf"^inference_exporter_{part}{{.*}} (\S+)$", text, re.M)
                    )
                    for part in PARTS
                }
                observed, *rest = (found[part] for part in PARTS)
                if observed != sum(rest) or min(rest) < 0:
                    self.wrong.append(f"the ledger is not exact: {found}")
        for name, pid in (("data plane", self.child.pid), ("analyzer", self.analyzer())):
            with contextlib.suppress(OSError, TypeError):
                status_file = Path(f"/proc/{pid}/status").read_text()
                resident = re.search(r"VmRSS:\s+(\d+)", status_file)
                self.memory[name] = max(self.memory[name], int(resident[1]) / 1024)
        time.sleep(0.5)

    def happen(self, event: str) -> None:
        """One thing that happens to the processes."""
        analyzer = self.analyzer()
        self.counts[event] += 1
        with contextlib.suppress(ProcessLookupError, TypeError):
            if event == "kill analyzer":
                os.kill(analyzer, signal.SIGKILL)
            elif event == "pause analyzer":
                os.kill(analyzer, signal.SIGSTOP)
                self.over.wait(1.0)
                os.kill(analyzer, signal.SIGCONT)
            elif event == "hang analyzer":
                os.kill(analyzer, signal.SIGSTOP)
                # 30 s until it counts as hung, a pause of up to 30 after deaths in a row, and the start.
                deadline = time.monotonic() + 100
                while self.analyzer() == analyzer and time.monotonic() < deadline and not self.over.is_set():
                    time.sleep(0.2)
                if self.analyzer() == analyzer and not self.over.is_set():
                    self.wrong.append("an analyzer that hangs was not replaced in time")
            elif event == "reload":
                self.child.send_signal(signal.SIGHUP)
            elif event == "pause data plane":
                self.excused_until = time.monotonic() + 3.0
                self.child.send_signal(signal.SIGSTOP)
                self.over.wait(0.5)
                self.child.send_signal(signal.SIGCONT)
            else:
                self.excused_until = float("inf")
                self.child.kill()
                self.child.wait()
                self.start()
                self.excused_until = time.monotonic() + 1.0
                self.expect_gone(analyzer)

    def expect_gone(self, pid: int | None) -> None:
        """An analyzer whose data plane has ended ends as well."""
        deadline = time.monotonic() + 30
        while pid is not None and Path(f"/proc/{pid}/exe").exists():
            if time.monotonic() > deadline:
                self.wrong.append("an analyzer was left behind")
                return
            time.sleep(0.2)

    def complain(self, what: str) -> None:
        """Something went wrong, unless the data plane itself was away."""
        if time.monotonic() > self.excused_until and not self.over.is_set():
            self.wrong.append(what)

    def run(self, minutes: float, every_seconds: float) -> None:
        """Do all of it at once for so long."""

        def again(what: Callable[[], None]) -> None:
            while not self.over.is_set():
                try:
                    what()
                except Exception as error:
                    self.complain(f"{what.__name__} ended with {error!r}")

        doing = [self.predict] * 4 + [self.attack] * 2 + [self.probe, self.scrape]
        threads = [threading.Thread(target=again, args=(what,)) for what in doing]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60 * minutes
        for event in itertools.cycle(EVENTS):
            if self.over.wait(min(every_seconds, max(0.0, deadline - time.monotonic()))):
                break
            if time.monotonic() >= deadline:
                break
            self.happen(event)
        self.over.set()
        for thread in threads:
            thread.join()
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(60) != 0:
            self.wrong.append(f"the sidecar ended with {self.child.returncode}")


def main() -> None:
    """Soak, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two things that happen")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        asyncio.run(upstream(arguments.upstream))
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        service = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sidecar_soak", "--upstream", str(port)], cwd=ROOT
        )
        try:
            soak = Soak(Path(name), port, arguments.seed)
            soak.run(arguments.minutes, arguments.every)
        finally:
            service.kill()
            service.wait()
        log = (Path(name) / "log").read_text(errors="replace")
    print("| what | n |\n|---|---|")
    for what, n in sorted(soak.counts.items()):
        print(f"| {what} | {n} |")
    print(f"| slowest pair of probes, s | {soak.slowest_probe:.2f} |")
    for role, megabytes in soak.memory.items():
        print(f"| most memory of the {role}, MB | {megabytes:.0f} of {MOST_MEGABYTES[role]:.0f} |")
        if megabytes > MOST_MEGABYTES[role]:
            soak.wrong.append(f"the {role} had {megabytes:.0f} MB")
    print(f"| tracebacks in the log | {log.count('Traceback')} |")
    if soak.slowest_probe > MOST_PROBE_SECONDS:
        soak.wrong.append(f"a pair of probes took {soak.slowest_probe:.2f} s")
    for complaint, n in Counter(soak.wrong).most_common(20):
        print(f"{n} times: {complaint}")
    sys.exit(1 if soak.wrong else 0)


if __name__ == "__main__":
    main()
