"""A real sidecar process in front of a real service, for the tests of the data plane."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

NGINX = """
worker_processes 1; worker_rlimit_nofile 20000; daemon off;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_header_timeout 1h;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{{"prediction":"cat","probability":0.93}}'; }} }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    for _ in range(600):
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the process ended with code {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on {port}")


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """A service with a fixed answer."""
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port))
    with running(["nginx", "-c", str(conf)], port):
        yield port


@dataclass
class SidecarProcess:
    """A sidecar, its ports, and what it says of itself."""

    process: subprocess.Popen[bytes]
    port: int
    admin: int

    def metric(self, name: str, **labels: str) -> float:
        """The sum over those of a metric's children that have these labels."""
        url = f"http://127.0.0.1:{self.admin}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        found = re.findall(rf"^{re.escape(name)}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
        assert found, name
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for child, value in found if all(pair in child for pair in wanted))

    @property
    def pids(self) -> list[int]:
        """The data plane's process, and its analyzer's."""
        first = self.process.pid
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def memory(self, key: str = "VmRSS") -> int:
        """Bytes of resident memory of all processes; ``VmHWM`` is the highest since :meth:`forget_peak`."""
        total = 0
        for pid in self.pids:
            found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            assert found is not None
            total += 1024 * int(found[1])
        return total

    def forget_peak(self) -> None:
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def sidecar(upstream: int, folder: Path, *, extra: str = "") -> Iterator[SidecarProcess]:
    """``inference-exporter sidecar`` in front of a port, capturing ``/predict``."""
    port, admin = free_port(), free_port()
    config = folder / "sidecar.yaml"
    config.write_text(
        f"""
capture:
  paths: ["/predict"]
  payload: fields
  fields: {{predicted_class: prediction, confidence: probability}}
sidecar: {{upstream: "http://127.0.0.1:{upstream}", listen: "127.0.0.1:{port}", drain_seconds: 2{extra}}}
admin: {{listen: "127.0.0.1:{admin}"}}
"""
    )
    command = [
        sys.executable,
        "-c",
        "from exporter.cli.main import main; main()",
        "sidecar",
        "--config",
        str(config),
    ]
    with running([*command, "--log-level", "warning"], port) as process:
        wait_for_port(admin, process)
        yield SidecarProcess(process, port, admin)


@contextlib.contextmanager
def in_thread(target: Callable[[], None]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()
