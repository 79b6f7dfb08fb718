"""A sidecar in a thread of the test's process, its analyzer in another, and a service behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from exporter.config.loading import load_config
from exporter.processes.supervisor import RULES, Rules
from exporter.sidecar.sidecar import Sidecar
from tests.servers import get, request, wait_for


class Service(BaseHTTPRequestHandler):
    """Says what it is told to, as a prediction."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))["say"]
        body = json.dumps({"prediction": said, "probability": 0.75}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Running:
    """One that runs, and ways to ask it."""

    def __init__(self, sidecar: Sidecar, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        self.sidecar, self.file, self._loop = sidecar, file, loop

    @property
    def listen(self) -> int:
        return self.sidecar.proxy.address.port

    @property
    def admin(self) -> int:
        return int(self.sidecar.admin.address.rpartition(":")[2])

    @property
    def analyzer(self) -> int | None:
        analyzer = self.sidecar._analyzer
        return None if analyzer.admin is None else analyzer._supervisor.pid

    def reload(self, text: str | None = None) -> None:
        if text is not None:
            self.file.write_text(text)
        self._loop.call_soon_threadsafe(self.sidecar.reload)

    def say(self, what: str, path: str = "/predict") -> tuple[int, str]:
        return request(self.listen, "POST", path, json.dumps({"say": what}).encode())

    def sample(self, name: str, **labels: str) -> float | None:
        status, text = get(self.admin, "/metrics")
        if status != 200:
            return None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def another(self, than: int | None) -> int:
        """The next analyzer, once it is there."""
        wait_for(lambda: self.analyzer not in (None, than), 40, "another analyzer")
        assert self.analyzer is not None
        return self.analyzer


@contextmanager
def running(
    folder: Path,
    text: str = "model: m\n",
    *,
    rules: Rules = RULES,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[Running]:
    """Serve until the end of the block, with a configuration file that holds ``text``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    file = folder / "exporter.yaml"
    file.write_text(text)
    given = {
        "sidecar": {"upstream": f"http://127.0.0.1:{server.server_address[1]}", "listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        **(overrides or {}),
    }
    started: list[Running] = []
    stopping: list[asyncio.Event] = []

    async def serve() -> None:
        stop = asyncio.Event()
        stopping.append(stop)
        sidecar = Sidecar(load_config(file, overrides=given), file, given, rules)
        started.append(Running(sidecar, asyncio.get_running_loop(), file))
        await sidecar.serve(stop)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        wait_for(lambda: started and get(started[0].admin, "/-/ready")[0] == 200, what="readiness")
        yield started[0]
    finally:
        with contextlib.suppress(RuntimeError):  # it ended by itself
            started[0]._loop.call_soon_threadsafe(stopping[0].set)
        thread.join(60)
        assert not thread.is_alive()
        server.shutdown()
        server.server_close()
        serving.join()
