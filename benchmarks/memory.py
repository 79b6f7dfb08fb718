"""What hostile or unlucky traffic costs in memory, in this tree and in another one beside it.

``.venv/bin/python -m benchmarks.memory --trees . ../before`` starts each case's processes anew for each tree,
with its own code, and prints how much the resident memory of the process that grew most grew.
``benchmarks.analyzer_memory`` does the same for what strangers send to the data port.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

ENTRY = """
try:
    from exporter.cli.main import main
except ImportError:
    from exporter.cli import main
main()
"""
MIB = 1024 * 1024
# One white pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(tree: Path, command: list[str], port: int, files: int = 0) -> Iterator[psutil.Process]:
    """A server of ``tree``, from when its port takes connections; ``files`` that it may open, if any."""
    if files:
        command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    child = subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        for process in [*psutil.Process(child.pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def members(process: psutil.Process) -> list[psutil.Process]:
    """A process and its children."""
    return [process, *process.children(recursive=True)]


class Growth:
    """How much the memory of some processes grew at most, in MiB, while it was looked at."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._before = {member.pid: member.memory_info().rss for member in members(process)}
        self.most = 0.0

    def look(self) -> None:
        """Take note of how it stands now."""
        for member in members(self._process):
            with suppress(psutil.NoSuchProcess):
                grown = member.memory_info().rss - self._before.get(member.pid, 0)
                if member.pid in self._before:
                    self.most = max(self.most, grown / MIB)

    def watch(self, seconds: float) -> None:
        """Look for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.02)


@contextmanager
def hook(tree: Path, folder: Path, handler: str) -> Iterator[tuple[psutil.Process, int]]:
    """A service with the one line, whose ``POST /predict`` is ``handler``."""
    port = free_port()
    (folder / "service.py").write_text(
        textwrap.dedent(
            """
            import numpy as np, uvicorn
            from fastapi import FastAPI, Request, Response
            from exporter import InferenceExporter, observe
            app = FastAPI()
            BIG = b'{"predictions": [' + b",".join([b"0.1"] * 65000) + b"]}"
            ROW = np.zeros(65536, np.float32).tolist()  # a copy for each request: half a megabyte

            @app.post("/predict")
            async def predict(request: Request) -> Response:
                %s

            InferenceExporter(model="m").instrument(app).expose(app)
            uvicorn.run(app, port=%d, log_level="error")
            """
        )
        % (handler, port)
    )
    with running(tree, [sys.executable, str(folder / "service.py")], port) as process:
        yield process, port


def post(port: int, body: bytes, path: str = "/predict", kind: str = "application/json") -> int:
    """The status of one request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"content-type": kind}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def batches(tree: Path, folder: Path) -> str:
    """F3: 30 responses of 65,000 instances each, as fast as they go."""
    with hook(tree, folder, 'return Response(BIG, media_type="application/json")') as (process, port):
        post(port, b"{}")
        time.sleep(2)
        growth = Growth(process)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(post, port, b"{}") for _ in range(30)]
            while not all(one.done() for one in sent):
                growth.watch(0.1)
        growth.watch(15)
        return f"+{growth.most:.0f} MiB"


def annotations(tree: Path, folder: Path) -> str:
    """F12: 1,000 x observe(embedding=65,536 floats), while the helper process hangs."""
    handler = 'observe(embedding=list(ROW)); return Response(b"{}", media_type="application/json")'
    with hook(tree, folder, handler) as (process, port):
        post(port, b"{}")
        time.sleep(2)
        for child in process.children():
            child.send_signal(signal.SIGSTOP)
        growth = Growth(process)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in pool.map(lambda _: post(port, b"{}"), range(1000)):
                growth.look()
        growth.watch(1)
        return f"+{growth.most:.0f} MiB"


UPSTREAM = """
import asyncio, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = 0
            for line in head.lower().split(b"\\r\\n"):
                if line.startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            await reader.readexactly(size)
            body = b'{"label": "cat", "score": 0.9}'
            head = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\n"
            writer.write(head + b"content-length: %d\\r\\n\\r\\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def sidecar(
    tree: Path, folder: Path, *, files: int = 0, **sections: object
) -> Iterator[tuple[psutil.Process, int, int]]:
    """A sidecar before a plain service; gives it, its port and its admin port."""
    upstream, listen, admin = free_port(), free_port(), free_port()
    config = {
        "model": "m",
        "sidecar": {"upstream": f"http://127.0.0.1:{upstream}", "listen": f"127.0.0.1:{listen}"},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    with ExitStack() as stack:
        stack.enter_context(running(tree, [sys.executable, "-c", UPSTREAM, str(upstream)], upstream))
        command = [sys.executable, "-c", ENTRY, "sidecar", "--config", str(path)]
        process = stack.enter_context(running(tree, command, listen, files))
        time.sleep(1)
        yield process, listen, admin


def hung_analyzer(tree: Path, folder: Path) -> str:
    """F11: 100,000 short connections while the analyzer hangs: growth of the data plane."""
    with sidecar(tree, folder) as (process, port, _):
        post(port, b"{}")
        for child in process.children():
            child.send_signal(signal.SIGSTOP)
        growth = Growth(process)
        request = b"POST /predict HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"

        def once(_: int) -> None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(request)
                while b"score" not in sock.recv(4096):
                    pass

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for number, _ in enumerate(pool.map(once, range(100_000))):
                if number % 500 == 0:
                    growth.look()
        growth.watch(1)
        return f"+{growth.most:.0f} MiB"


def images(tree: Path, folder: Path) -> str:
    """F17: one request with 256 images of one pixel, 23 KiB in all, to the embedder."""
    import warnings

    import torch

    class Means(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Means()), folder / "model.pt")
    embedder = {"kind": "torchscript", "path": str(folder / "model.pt"), "image": {"source": "images"}}
    drift = [{"detector": "mmd", "reference": {"learn": 1000}}]
    with sidecar(tree, folder, capture={"embedder": embedder}, drift=drift) as (process, port, _):
        pixel = base64.b64encode(PIXEL).decode()
        post(port, json.dumps({"images": [pixel] * 2}).encode())
        time.sleep(5)
        growth = Growth(process)
        status = post(port, json.dumps({"images": [pixel] * 256}).encode())
        growth.watch(8)
        return f"+{growth.most:.0f} MiB ({status})"


def admin_connections(tree: Path, folder: Path) -> str:
    """F18: 1,100 idle connections to the admin listener, 1,024 files allowed: is /-/healthy there?"""
    with sidecar(tree, folder, files=1024) as (_, _, admin):
        idle: list[socket.socket] = []
        for _ in range(1100):
            with suppress(OSError):
                idle.append(socket.create_connection(("127.0.0.1", admin), 2))
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/-/healthy", timeout=5) as response:
                return f"{response.status}"
        except OSError as error:
            return f"no answer ({type(error).__name__})"
        finally:
            for sock in idle:
                sock.close()


def admin_bodies(tree: Path, folder: Path) -> str:
    """F18: 40 bodies of 8 MiB, all but their last byte, to ingest at once."""
    with sidecar(tree, folder, ingest={"enabled": True}) as (process, _, admin):
        growth = Growth(process)
        body = b" " * (8 * MIB - 1)
        head = (
            b"POST /v1/observations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % (len(body) + 1)
        )
        socks: list[socket.socket] = []

        def send(_: int) -> None:
            with suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", admin), 5)
                socks.append(sock)
                sock.settimeout(20)
                sock.sendall(head + body)

        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            list(pool.map(send, range(40)))
        growth.watch(2)
        for sock in socks:
            sock.close()
        return f"+{growth.most:.0f} MiB"


CASES: dict[str, Callable[[Path, Path], str]] = {
    "F3": batches,
    "F11": hung_analyzer,
    "F12": annotations,
    "F17": images,
    "F18 connections": admin_connections,
    "F18 bodies": admin_bodies,
}


def main() -> None:
    """Run the cases for each tree, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", nargs="+", type=Path, default=[Path()])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    given = parser.parse_args()
    print("| case | " + " | ".join(str(tree) for tree in given.trees) + " |")
    print("|---|" + "---|" * len(given.trees))
    for name in given.cases:
        cells = []
        for tree in given.trees:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(CASES[name](tree.resolve(), Path(folder)))
        described = (CASES[name].__doc__ or name).rstrip(".")
        print(f"| {described} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
