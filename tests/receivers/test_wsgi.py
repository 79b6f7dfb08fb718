"""A WSGI application answers as if nobody looked, and what it was asked and said is recorded."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from flask import Flask, Response, request, stream_with_context
from prometheus_client import CollectorRegistry

from exporter.hook import InferenceExporter
from exporter.http.exchange import Exchange
from exporter.http.paths import path_matcher
from exporter.metrics.http_instruments import HttpInstruments
from exporter.receivers.asgi.context import observe, orphan_observes
from exporter.receivers.wsgi import CaptureWsgi
from tests.servers import get
from tests.servers import request as ask

OK = ("200 OK", [("Content-Type", "application/json")])


class Bench:
    """A captured application, and what was recorded of it."""

    def __init__(self, app: Any, *, paths: tuple[str, ...] = ("/predict",)) -> None:
        self.exchanges: list[Exchange] = []
        self.errors: list[Any] = []
        self.registry = CollectorRegistry()
        self.app = CaptureWsgi(
            app,
            matches=path_matcher(paths),
            submit=self.exchanges.append,
            max_body_bytes=1000,
            on_error=lambda: self.errors.append(sys.exc_info()[1]),
            instruments=HttpInstruments(self.registry),
            registry=self.registry,
            scrape=("/metrics", lambda accept: ("text/plain", b"a 1\n")),
        )

    def run(self, body: bytes = b"{}", *, valid: bool = True, **environ: Any) -> tuple[str, list[Any], bytes]:
        """Status, headers and body as a server sees them."""
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/predict",
            "CONTENT_LENGTH": str(len(body)),
            **environ,
        }
        environ.setdefault("wsgi.input", io.BytesIO(body))
        setup_testing_defaults(environ)
        environ.setdefault("QUERY_STRING", "")
        environ.setdefault("SCRIPT_NAME", "")
        app = validator(self.app) if valid else self.app
        seen: list[Any] = []
        written: list[bytes] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
            seen[:] = [status, headers]
            return written.append

        result = app(environ, start_response)
        try:
            pieces = list(result)
        finally:
            if hasattr(result, "close"):
                result.close()
        return seen[0], seen[1], b"".join([*written, *pieces])

    def counted(self, **labels: str) -> float | None:
        return self.registry.get_sample_value("http_requests_total", labels)


def answering(*pieces: bytes, **more: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        start_response("200 OK", [*OK[1], *more.get("headers", [])])
        return list(pieces)

    return app


def test_an_exchange_is_recorded():
    bench = Bench(validator(answering(b'{"prediction":', b' "cat"}')))
    assert bench.run(
        b'{"x": 1}', QUERY_STRING="a=b", HTTP_X_REQUEST_ID="r1", CONTENT_TYPE="application/json"
    ) == (
        "200 OK",
        [("Content-Type", "application/json")],
        b'{"prediction": "cat"}',
    )
    (exchange,) = bench.exchanges
    assert (exchange.method, exchange.path, exchange.query, exchange.status) == (
        "POST",
        "/predict",
        b"a=b",
        200,
    )
    assert (exchange.request_body, exchange.response_body) == (b'{"x": 1}', b'{"prediction": "cat"}')
    assert (b"x-request-id", b"r1") in exchange.request_headers
    assert (b"content-type", b"application/json") in exchange.request_headers
    assert exchange.response_headers == ((b"content-type", b"application/json"),)
    assert not exchange.aborted
    assert bench.errors == []
    assert bench.counted(handler="/predict", method="POST", status="2xx") == 1
    assert bench.registry.get_sample_value("http_request_size_bytes_sum", {"handler": "/predict"}) == 8
    assert bench.registry.get_sample_value("http_response_size_bytes_sum", {"handler": "/predict"}) == 21


def test_pieces_are_handed_on_when_the_application_gives_them():
    given: list[int] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(*OK)
        for n in range(3):
            given.append(n)
            yield b"%d" % n

    bench = Bench(app)
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/predict"}
    setup_testing_defaults(environ)
    result = iter(bench.app(environ, lambda *_: None))
    assert given == []
    for n in range(3):
        assert next(result) == b"%d" % n
        assert given == list(range(n + 1))
        assert bench.exchanges == []
    assert next(result, None) is None
    assert bench.exchanges[0].response_body == b"012"


def test_what_was_written_is_recorded_too():
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response(*OK)
        write(b"first, ")
        return [b"second"]

    bench = Bench(validator(app))
    assert bench.run()[2] == b"first, second"
    assert bench.exchanges[0].response_body == b"first, second"


def test_what_the_application_returned_is_closed_once_and_a_response_that_breaks_off_is_left_out():
    class Result:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            yield b"b"

        def close(self) -> None:
            Result.closed += 1

    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)
        return Result()

    bench = Bench(app)
    bench.run()
    assert (Result.closed, len(bench.exchanges)) == (1, 1)
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/predict"}
    setup_testing_defaults(environ)
    result: Any = bench.app(environ, lambda *_: None)
    assert next(iter(result)) == b"a"
    result.close()
    assert (Result.closed, len(bench.exchanges)) == (2, 1)
    assert bench.counted(handler="/predict", method="POST", status="2xx") == 2


def test_a_server_that_stops_at_the_announced_length_has_it_all():
    bench = Bench(answering(b"abc", b"", headers=[("Content-Length", "3")]))
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/predict", "CONTENT_LENGTH": ""}
    setup_testing_defaults(environ)
    result: Any = bench.app(environ, lambda *_: None)
    assert next(iter(result)) == b"abc"
    result.close()
    assert [exchange.response_body for exchange in bench.exchanges] == [b"abc"]


class Broken(Exception):
    pass


@pytest.mark.parametrize("place", ["call", "piece", "close"])
def test_what_the_application_raises_goes_through_and_counts_as_an_error(place: str):
    class Result:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            if place == "piece":
                raise Broken

        def close(self) -> None:
            if place == "close":
                raise Broken

    def app(environ: Any, start_response: Any) -> Any:
        if place == "call":
            raise Broken
        start_response(*OK)
        return Result()

    bench = Bench(app)
    with pytest.raises(Broken):
        bench.run(valid=False)
    assert bench.errors == []
    assert len(bench.exchanges) == (place == "close")
    status = "5xx" if place == "call" else "2xx"
    assert bench.counted(handler="/predict", method="POST", status=status) == 1


def test_a_response_that_is_begun_again_is_the_last_one():
    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)
        try:
            raise Broken
        except Broken:
            start_response("503 Busy", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"later"]

    bench = Bench(validator(app))
    assert bench.run()[0] == "503 Busy"
    assert bench.exchanges == []
    assert bench.counted(handler="/predict", method="POST", status="5xx") == 1


READS = {
    "read": lambda stream: stream.read(),
    "pieces": lambda stream: stream.read(2) + stream.read(100),
    "lines": lambda stream: b"".join(stream.readlines()),
    "line": lambda stream: stream.readline() + stream.readline() + stream.readline(3) + stream.readline(),
    "iter": b"".join,
    "read1": lambda stream: stream.read1() + stream.read1(-1),
    "readinto": lambda stream: io.BufferedReader(stream).read(),
}


@pytest.mark.parametrize("way", READS)
def test_the_body_is_copied_as_the_application_reads_it(way: str):
    body = b"one\ntwo\nthree"
    seen: list[bytes] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(READS[way](environ["wsgi.input"]))
        start_response(*OK)
        return [b"{}"]

    bench = Bench(app)
    bench.run(body, valid=False)
    assert seen == [body]
    assert bench.exchanges[0].request_body == body
    assert bench.errors == []


def test_nothing_is_read_that_the_application_does_not_read():
    stream = io.BytesIO(b"never asked for")
    bench = Bench(lambda environ, start_response: (start_response(*OK), [b"{}"])[1])
    bench.run(**{"wsgi.input": stream, "CONTENT_LENGTH": "15"})
    assert stream.tell() == 0
    assert bench.exchanges[0].request_size == 0
    assert bench.registry.get_sample_value("http_request_size_bytes_sum", {"handler": "/predict"}) == 15


def test_bodies_beyond_the_bound_pass_and_are_forgotten():
    bench = Bench(answering(b"y" * 5000))
    assert bench.run(b"x" * 5000)[2] == b"y" * 5000
    (exchange,) = bench.exchanges
    assert (exchange.request_truncated, exchange.response_truncated) == (True, True)
    assert (exchange.request_body, exchange.response_body) == (b"", b"")


def test_a_file_of_the_server_s_own_kind_stays_one(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"z" * 100)
    opened: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "image/png"), ("Content-Length", "100")])
        opened.append(environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb")))
        return opened[0]

    bench = Bench(app)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/predict",
        "wsgi.file_wrapper": FileWrapper,
    }
    setup_testing_defaults(environ)
    result: Any = bench.app(environ, lambda *_: None)
    assert result is opened[0]
    result.close()
    assert bench.exchanges == []
    assert bench.registry.get_sample_value("http_response_size_bytes_sum", {"handler": "/predict"}) == 100


def test_paths_that_are_not_captured_are_counted_and_not_recorded():
    bench = Bench(answering(b"{}"))
    bench.run(PATH_INFO="/other")
    bench.run(PATH_INFO="/predict", REQUEST_METHOD="BREW", valid=False)
    assert len(bench.exchanges) == 1
    assert bench.counted(handler="none", method="POST", status="2xx") == 1
    assert bench.counted(handler="/predict", method="OTHER", status="2xx") == 1


def test_an_application_that_is_mounted_is_captured_by_either_path():
    bench = Bench(answering(b"{}"), paths=("/predict", "/api/v2"))
    bench.run(SCRIPT_NAME="/api", PATH_INFO="/predict")
    bench.run(SCRIPT_NAME="/api", PATH_INFO="/v2")
    bench.run(PATH_INFO="/pr\u00c3\u00a9dict")
    assert [exchange.path for exchange in bench.exchanges] == ["/predict", "/v2"]


def test_a_request_counts_once_however_often_it_is_wrapped():
    inner = Bench(answering(b"{}"))
    outer = CaptureWsgi(
        inner.app,
        matches=path_matcher(("/predict",)),
        submit=lambda _: None,
        max_body_bytes=10,
        on_error=lambda: None,
        instruments=HttpInstruments(inner.registry),
        registry=inner.registry,
    )
    inner.app, innermost = outer, inner.app
    inner.run()
    assert innermost is not inner.app
    assert inner.counted(handler="/predict", method="POST", status="2xx") == 1
    assert len(inner.exchanges) == 1


def test_a_scrape_is_answered_and_other_methods_are_the_application_s():
    bench = Bench(answering(b"theirs"))
    assert bench.run(b"", PATH_INFO="/metrics", REQUEST_METHOD="GET")[2] == b"a 1\n"
    assert bench.run(b"", PATH_INFO="/metrics", REQUEST_METHOD="HEAD")[2] == b""
    assert bench.run(b"", PATH_INFO="/metrics", REQUEST_METHOD="POST")[2] == b"theirs"


@pytest.mark.parametrize("broken", ["matches", "submit", "clock"])
def test_what_fails_on_our_side_goes_no_further(broken: str):
    def fail(*_: Any) -> Any:
        raise Broken

    bench = Bench(answering(b"fine"))
    setattr(bench.app, broken if broken == "clock" else f"_{broken}", fail)
    assert bench.run()[2] == b"fine"
    assert [type(error) for error in bench.errors] == [Broken]


@pytest.mark.parametrize("headers", [[("X", "\u20ac")], [("X",)], [(b"X", b"Y")]])
def test_headers_that_break_the_rules_are_the_server_s_to_refuse(headers: Any):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return [b"fine"]

    bench = Bench(app)
    assert bench.run(valid=False)[1:] == (headers, b"fine")
    assert len(bench.errors) == 1


def test_observe_speaks_to_the_request_also_while_it_streams():
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        observe(predicted_class="cat")
        start_response(*OK)
        yield b"a"
        observe(confidence=0.5)
        yield b"b"

    bench = Bench(app)
    before = orphan_observes()
    bench.run()
    assert bench.exchanges[0].notes == {"predicted_class": "cat", "confidence": 0.5}
    assert orphan_observes() == before
    observe(predicted_class="nobody's")
    assert orphan_observes() == before + 1


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


def raw(app: Any, body: bytes) -> bytes:
    """All bytes that a server of the standard library sends."""
    out = io.BytesIO()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/predict",
        "CONTENT_LENGTH": str(len(body)),
    }
    setup_testing_defaults(environ)
    handler = SimpleHandler(io.BytesIO(body), out, io.StringIO(), environ)
    handler.run(app)
    return b"\r\n".join(line for line in out.getvalue().split(b"\r\n") if not line.startswith(b"Date:"))


@pytest.mark.parametrize("pieces", [(), (b"",), (b"one",), (b"one", b"two")])
def test_the_server_sends_the_same_bytes_with_us_as_without(pieces: tuple[bytes, ...]):
    """Negative control inside: a wrapper without a length would cost the header Content-Length."""
    app = answering(*pieces)
    bare = raw(app, b"{}")
    assert raw(Bench(app).app, b"{}") == bare
    lengthless = raw(lambda environ, start_response: iter(app(environ, start_response)), b"{}")
    assert (lengthless != bare) == (len(pieces) == 1)


@pytest.fixture
def flask_app() -> Flask:
    app = Flask("service")

    @app.post("/predict")
    def predict() -> Any:
        observe(embedding=[1.0, 2.0])
        return {"prediction": "cat", "probability": 0.75, "asked": request.get_json()["x"]}

    @app.post("/stream")
    def stream() -> Any:
        def pieces() -> Iterator[str]:
            yield '{"prediction": '
            yield f'"{request.args["name"]}"}}'

        return Response(stream_with_context(pieces()), mimetype="application/json")

    return app


def test_flask_is_observed_from_threads_of_a_real_server(flask_app: Flask):
    exporter = InferenceExporter(
        model="m", registry=CollectorRegistry(), drift=[], capture={"paths": ["/predict", "/stream"]}
    )
    flask_app.wsgi_app = exporter.wrap_wsgi(flask_app.wsgi_app, metrics="/metrics")  # type: ignore[method-assign]
    with make_server("127.0.0.1", 0, flask_app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            for _ in range(3):
                assert ask(
                    server.server_port, "POST", "/predict", b'{"x": 7}', {"content-type": "application/json"}
                ) == (
                    200,
                    '{"asked":7,"prediction":"cat","probability":0.75}\n',
                )
            assert ask(server.server_port, "POST", "/stream?name=dog")[1] == '{"prediction": "dog"}'
            assert ask(server.server_port, "POST", "/predict", b"no json")[0] == 415
            assert exporter.flush(20)
            text = get(server.server_port, "/metrics")[1]
        finally:
            server.shutdown()
            thread.join()
            exporter.stop()
    assert 'predicted_class_total{class_name="cat",model="m",version=""} 3.0' in text
    assert 'predicted_class_total{class_name="dog",model="m",version=""} 1.0' in text
    assert 'http_requests_total{handler="/predict",method="POST",status="2xx"} 3.0' in text
    assert 'http_requests_total{handler="/predict",method="POST",status="4xx"} 1.0' in text
    assert 'http_requests_total{handler="/stream",method="POST",status="2xx"} 1.0' in text
    assert 'inference_exporter_observations_total{model="m",source="hook",version=""} 4.0' in text


@pytest.mark.parametrize(
    ("settings", "processes", "lines"),
    [
        ({}, True, 1),
        ({}, False, 0),
        ({"collector": "http://127.0.0.1:9"}, True, 0),
    ],
    ids=["alone", "one process", "collector"],
)
def test_a_server_with_several_processes_that_share_nothing_is_said_once(
    settings: dict[str, Any], processes: bool, lines: int, caplog: pytest.LogCaptureFixture
):
    exporter = InferenceExporter(model="m", registry=CollectorRegistry(), **settings)
    app = exporter.wrap_wsgi(answering(b"ok"), metrics="/metrics")
    for _ in range(2):
        environ: dict[str, Any] = {"PATH_INFO": "/other", "CONTENT_LENGTH": "0"}
        setup_testing_defaults(environ)
        environ["wsgi.multiprocess"] = processes
        assert b"".join(app(environ, lambda *_: None)) == b"ok"
    exporter.stop()
    assert caplog.text.count("Set PROMETHEUS_MULTIPROC_DIR") == lines


def test_switched_off_the_application_is_what_the_server_gets(
    flask_app: Flask, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ENABLE_METRICS", "false")
    bare = flask_app.wsgi_app
    assert InferenceExporter(model="m").wrap_wsgi(bare, metrics="/metrics") is bare
