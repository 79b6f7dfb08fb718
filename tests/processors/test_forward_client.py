from __future__ import annotations

import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
import pytest
import torch
from starlette.applications import Starlette

from exporter.config import CollectorConfig, IngestConfig, QueueConfig
from exporter.config.loading import load_config
from exporter.errors import ConfigError
from exporter.observation import Observation
from exporter.processors.forward.client import CollectorClient
from exporter.receivers.ingest.app import IngestApp
from exporter.runtime import Runtime
from exporter.sidecar.server import ServerThread, listening
from tests.receivers.ingest.test_app import TOKEN, Sink


def observation(index: int, **more) -> Observation:
    return Observation(model="food", source="hook", timestamp=float(index), value=float(index), **more)


@pytest.fixture
def collector(tmp_path):
    """A real listener with the ingest API, made on demand."""
    servers = []

    def make(sink, listen="127.0.0.1:0", **options):
        app = IngestApp(
            IngestConfig(enabled=True, retry_after=1.0),
            model="food",
            sink=sink,
            **options,
        )
        server = ServerThread(Starlette(routes=app.routes), listening(listen, "admin.listen"))
        server.start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


def client_of(url, *, token=None, max_items=10_000, max_bytes=64 * 1024 * 1024, **more):
    queue = QueueConfig(max_items=max_items, max_bytes=max_bytes)
    client = CollectorClient(CollectorConfig(url=url, token=token), queue)
    for name, value in more.items():
        setattr(client, name, value)
    return client


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("unix", [False, True])
def test_observations_arrive_complete_and_in_order(collector, tmp_path, unix):
    sink = Sink()
    listen = f"unix:{tmp_path / 'c.sock'}" if unix else "127.0.0.1:0"
    server = collector(sink, listen, token=TOKEN)
    url = server.address if unix else f"http://{server.address}"
    client = client_of(url, token=TOKEN, max_batch=100)
    full = observation(
        0,
        predicted_class="soup",
        confidence=0.5,
        embedding=torch.tensor([1.0, 2.5], dtype=torch.bfloat16),
        features=np.array([3.0, 4.0]),
        request_id="r1",
        latency_seconds=0.25,
    )
    assert client.submit(full)
    for index in range(1, 1000):
        assert client.submit(observation(index, embedding=np.arange(3)))
    client.stop()
    assert client.account.sent == client.account.submitted == 1000
    assert [item.timestamp for item in sink.observations] == list(range(1000))
    first = sink.observations[0]
    assert (first.predicted_class, first.confidence, first.request_id) == ("soup", 0.5, "r1")
    assert (list(first.embedding), first.features, first.latency_seconds) == ([1.0, 2.5], [3.0, 4.0], 0.25)


def test_a_collector_that_is_away_costs_bounded_memory_and_is_counted(caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = client_of(
            f"http://127.0.0.1:{unused.getsockname()[1]}", max_items=100, flush_interval_seconds=0.01
        )
        taken = [client.submit(observation(index)) for index in range(1000)]
        assert taken == [True] * 100 + [False] * 900
        until(lambda: "does not take observations" in caplog.text)
        client.stop(0.2)
    account = client.account
    assert account.dropped == {"queue_full": 900, "stopped": 100}
    assert (account.submitted, account.sent, account.queued) == (1000, 0, 0)
    assert not client.submit(observation(0))
    assert "does not take observations" in caplog.text
    assert caplog.text.count("does not take observations") == 1


def test_bytes_are_bounded_too():
    client = client_of("http://127.0.0.1:9", max_bytes=100_000, flush_interval_seconds=60.0)
    taken = sum(client.submit(observation(i, embedding=np.zeros(1000, np.float32))) for i in range(100))
    assert 20 <= taken <= 25
    assert client.account.dropped == {"queue_bytes": 100 - taken}
    client.stop(0.0)


def test_a_collector_that_comes_back_gets_what_waited(collector, caplog):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    client = client_of(f"http://127.0.0.1:{port}", flush_interval_seconds=0.01, max_backoff_seconds=0.1)
    for index in range(50):
        client.submit(observation(index))
    until(lambda: "does not take observations" in caplog.text)
    sink = Sink()
    collector(sink, f"127.0.0.1:{port}")
    until(lambda: client.account.sent == 50)
    client.stop()
    assert [item.value for item in sink.observations] == list(range(50))


def test_a_full_collector_is_sent_the_rest_later_and_nothing_twice(collector):
    sink = Sink(room=30)
    client = client_of(f"http://{collector(sink).address}", flush_interval_seconds=0.01)
    for index in range(100):
        client.submit(observation(index))
    until(lambda: len(sink.observations) == 30)
    sink.room = 1000
    until(lambda: client.account.sent == 100)
    client.stop()
    assert [item.value for item in sink.observations] == list(range(100))


def test_what_is_refused_is_dropped_alone(collector):
    sink = Sink()
    client = client_of(f"http://{collector(sink).address}")
    for index in range(64):
        bad = np.array([np.nan]) if index == 40 else np.array([1.0])
        client.submit(observation(index, embedding=bad))
    client.submit(Observation(model="stranger", source="hook", value=1.0))
    client.stop()
    assert client.account.dropped == {"refused": 2}
    assert client.account.sent == 63
    assert [item.value for item in sink.observations] == [float(i) for i in range(64) if i != 40]


def test_a_response_that_got_lost_counts_nothing_twice():
    """The server takes the first batch but breaks off before its response."""
    seen: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            key = self.headers["idempotency-key"]
            first = key not in seen
            seen[key] = len(orjson.loads(body))
            if first:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = client_of(f"http://127.0.0.1:{server.server_port}", max_batch=10)
        for index in range(30):
            client.submit(observation(index))
        client.stop()
        assert client.account.sent == sum(seen.values()) == 30
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_runtime_that_sends_at_a_fork_sends_its_own_in_the_child(collector):
    sink = Sink()
    config = load_config({"model": "food", "collector": f"http://{collector(sink).address}"}, environment={})
    runtime = Runtime(config)

    def forwarded() -> float | None:
        return runtime.registry.get_sample_value("inference_exporter_forwarded_total")

    runtime.submit(observation(1), "hook")
    until(lambda: forwarded() == 1)
    pid = os.fork()
    if pid == 0:
        ok = forwarded() == 0 and runtime.submit(observation(2), "hook")
        runtime.stop()
        os._exit(0 if ok and forwarded() == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    runtime.submit(observation(3), "hook")
    runtime.stop()
    assert forwarded() == 2
    assert sorted(item.value for item in sink.observations) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:80", "ftp://x", "http://", "unix:", "http://h:port", "http://h/?a=b", "http://[::1"),
        *("http://user:pass@host", "http://user:pass@"),
    ],
)
def test_an_address_of_no_collector_never_gets_here(url):
    with pytest.raises(ConfigError) as caught:
        load_config({"collector": url}, environment={})
    assert "user:" not in str(caught.value)


def test_an_observation_that_is_no_json_is_dropped_alone(collector):
    sink = Sink()
    client = client_of(f"http://{collector(sink).address}")
    assert client.submit(observation(0))
    assert not client.submit(observation(1, features=object()))
    assert client.submit(observation(2))
    client.stop()
    assert client.account.dropped == {"failed": 1}
    assert [item.value for item in sink.observations] == [0.0, 2.0]
