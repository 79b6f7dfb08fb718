"""An upstream that is killed, restarted, hangs and breaks off, under load: all is counted, exactly."""

from __future__ import annotations

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.proxied import free_port, sidecar, wait_for_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

# Answers by the request's number: every 199th hangs, every 37th breaks off in the body, the rest is served.
SERVICE = r"""
import asyncio, re, socket, struct, sys, uvloop

class Service(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        found = re.search(rb"X-Number: (\d+)\r\n\r\n", self.data)
        if not found:
            return
        number, self.data = int(found[1]), b""
        answer = b'{"prediction": "c%d", "probability": 0.5}' % (number % 5)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: %d\r\n\r\n" % len(answer)
        if number % 199 == 0:
            return
        if number % 37 == 0:
            self.transport.write(head + answer[:10])
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            asyncio.get_running_loop().call_later(0.002, self.transport.abort)
            return
        self.transport.write(head + answer)

async def main():
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

uvloop.run(main())
"""


class Client:
    """Asks as long as it may, on one connection while that lasts, and writes down what it saw."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.number = number
        self.seen: collections.Counter[str] = collections.Counter()
        self.classes: collections.Counter[str] = collections.Counter()

    def run(self, stop: threading.Event) -> None:
        sock: socket.socket | None = None
        while not stop.is_set():
            self.number += 8
            if sock is None:
                sock = socket.create_connection(("127.0.0.1", self.port), 1)
            outcome = self.ask(sock)
            self.seen[outcome] += 1
            if outcome == "hung":
                self.number -= 8  # once more, on a connection that had no answer yet: a 504
            if outcome != "200":
                sock.close()
                sock = None
                time.sleep(0.002)
        if sock is not None:
            sock.close()

    def ask(self, sock: socket.socket) -> str:
        answer = b""
        try:
            sock.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\nX-Number: %d\r\n\r\n" % self.number)
            while True:
                data = sock.recv(65536)
                if not data:
                    return "ended"
                answer += data
                head, _, body = answer.partition(b"\r\n\r\n")
                if b"Content-Length: %d\r\n" % len(body) in head + b"\r\n":
                    status = head.split(b" ")[1].decode()
                    if status == "200":
                        self.classes[json.loads(body)["prediction"]] += 1
                    return status
        except TimeoutError:
            return "hung"  # as without the sidecar, since this connection had answers before
        except ConnectionError:
            return "reset" if not answer else "reset in the answer"


def start_service(port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", SERVICE, str(port)])
    wait_for_port(port, process)
    return process


def test_the_ledger_is_exact_whatever_the_upstream_does(tmp_path: Path) -> None:
    port = free_port()
    service = start_service(port)
    stop = threading.Event()
    with sidecar(port, tmp_path, extra=", first_byte_timeout: 300ms") as front:
        clients = [Client(front.port, number) for number in range(8)]
        threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                time.sleep(1.5)
                os.kill(service.pid, signal.SIGKILL)
                service.wait()
                time.sleep(0.3)
                service = start_service(port)
            time.sleep(1.5)
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
            service.kill()
            service.wait()
        seen: collections.Counter[str] = collections.Counter()
        classes: collections.Counter[str] = collections.Counter()
        for client in clients:
            seen.update(client.seen)
            classes.update(client.classes)
        for _ in range(100):
            if front.metric("inference_exporter_processed_total") >= seen["200"]:
                break
            time.sleep(0.05)
        ledger = {
            name: front.metric(f"inference_exporter_{name}")
            for name in (
                "observations_total",
                "processed_total",
                "dropped_total",
                "sampled_out_total",
                "queued",
            )
        }
        counted = {name: front.metric("predicted_class_total", class_name=name) for name in classes}
    assert {"200", "502", "504", "reset in the answer"} <= set(seen)
    assert ledger == {
        "observations_total": seen["200"],
        "processed_total": seen["200"],
        "dropped_total": 0,
        "sampled_out_total": 0,
        "queued": 0,
    }
    assert counted == classes
