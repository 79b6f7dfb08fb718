"""The middleware alone, message by message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporter.http.exchange import Exchange
from exporter.receivers.asgi.context import current_exchange, observe, orphan_observes
from exporter.receivers.asgi.middleware import CaptureMiddleware

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/predict",
    "query_string": b"a=1",
    "headers": [(b"x", b"1")],
}
START = {"type": "http.response.start", "status": 200, "headers": [(b"y", b"2")]}
BODY = {"type": "http.response.body", "body": b"{}"}


class Bench:
    """A middleware around an application, and all that comes out of it."""

    def __init__(self, app: Any, **settings: Any) -> None:
        self.exchanges: list[Exchange] = []
        self.errors = 0
        self.sent: list[Any] = []
        self.calls: list[str] = []
        given = {"matches": lambda path: path == "/predict", "submit": self.exchanges.append} | settings
        self.middleware = CaptureMiddleware(
            app,
            max_body_bytes=100,
            on_startup=self._up,
            on_shutdown=self._down,
            on_error=self._error,
            clock=iter(range(1000)).__next__,
            **given,
        )

    async def _up(self) -> None:
        self.calls.append("up")

    async def _down(self) -> None:
        self.calls.append("down")

    def _error(self) -> None:
        self.errors += 1

    async def run(self, *received: Any, scope: dict[str, Any] | None = None) -> None:
        waiting = list(received) or [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            self.sent.append(message)

        await self.middleware(scope if scope is not None else dict(SCOPE), receive, send)


def answering(*messages: Any, reads: int = 1) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(reads):
            await receive()
        for message in messages:
            await send(message)

    return app


async def test_an_exchange_is_recorded_and_every_message_is_the_object_it_was():
    bench = Bench(answering(START, {**BODY, "more_body": True}, BODY, reads=2))
    pieces = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c"},
    ]
    await bench.run(*pieces)
    (exchange,) = bench.exchanges
    assert (exchange.method, exchange.path, exchange.query) == ("POST", "/predict", b"a=1")
    assert exchange.request_body == b"abc"
    assert exchange.response_body == b"{}{}"
    assert (exchange.status, exchange.aborted) == (200, False)
    assert exchange.started < exchange.ended
    assert bench.sent[0] is START
    assert bench.sent[2] is BODY
    assert current_exchange.get() is None


async def test_the_exchange_is_handed_over_after_the_last_byte_was_sent_and_only_once():
    order: list[Any] = []
    bench = Bench(answering(START, BODY, BODY), submit=lambda exchange: order.append(len(bench.sent)))
    await bench.run()
    assert order == [2]


@pytest.mark.parametrize("status", [301, 400, 404, 422, 500])
async def test_answers_that_are_no_predictions_are_left_out(status: int):
    bench = Bench(answering({**START, "status": status}, BODY))
    await bench.run()
    assert (bench.exchanges, len(bench.sent)) == ([], 2)


async def test_an_answer_that_breaks_off_is_left_out():
    bench = Bench(answering(START, {**BODY, "more_body": True}))
    await bench.run()
    assert bench.exchanges == []


async def test_what_the_application_raises_goes_through():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("the application's")

    bench = Bench(app)
    with pytest.raises(KeyError, match="the application's"):
        await bench.run()
    assert (bench.exchanges, bench.errors) == ([], 0)
    assert current_exchange.get() is None


async def test_a_cancelled_request_stays_cancelled():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    bench = Bench(app)
    task = asyncio.ensure_future(bench.run())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.exchanges == []


async def test_other_paths_and_other_kinds_of_scope_get_the_server_s_own_callables():
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    bench = Bench(app)
    for scope in ({**SCOPE, "path": "/other"}, {"type": "websocket", "path": "/predict"}):
        trio = (scope, object(), object())
        await bench.middleware(*trio)
        assert all(got is given for got, given in zip(seen[-1], trio, strict=True))


@pytest.mark.parametrize("broken", ["matches", "submit"])
async def test_what_fails_on_our_side_is_counted_and_goes_no_further(broken: str):
    def fail(_: Any) -> Any:
        raise RuntimeError("ours")

    bench = Bench(answering(START, BODY), **{broken: fail})
    await bench.run()
    assert bench.sent == [START, BODY]
    assert bench.errors == 1


async def test_messages_without_their_optional_keys():
    bench = Bench(answering({"type": "http.response.start", "status": 200}, {"type": "http.response.body"}))
    await bench.run({"type": "http.request"})
    (exchange,) = bench.exchanges
    assert (exchange.request_body, exchange.response_body, exchange.response_headers) == (b"", b"", ())


async def test_bodies_beyond_the_bound_are_forgotten_and_passed_on():
    piece = {"type": "http.response.body", "body": b"x" * 60, "more_body": True}
    bench = Bench(answering(START, piece, piece, BODY))
    await bench.run()
    (exchange,) = bench.exchanges
    assert exchange.response_truncated
    assert (exchange.response_body, exchange.response_size) == (b"", 122)
    assert sum(len(message.get("body", b"")) for message in bench.sent) == 122


async def test_a_header_list_that_the_application_changes_later_is_kept_as_it_was_sent():
    headers = [(b"y", b"2")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        headers.append((b"z", b"3"))
        scope["headers"].clear()
        await send(BODY)

    bench = Bench(app)
    await bench.run(scope={**SCOPE, "headers": [(b"x", b"1")]})
    (exchange,) = bench.exchanges
    assert exchange.response_headers == ((b"y", b"2"),)
    assert exchange.request_headers == ((b"x", b"1"),)


async def test_the_lifespan_starts_before_the_application_and_stops_after_it():
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        order.append((await receive())["type"])
        order.extend(bench.calls)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        order.append("the application stops")
        await send({"type": "lifespan.shutdown.complete"})

    bench = Bench(app)
    await bench.run({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, scope={"type": "lifespan"})
    assert order == ["lifespan.startup", "up", "the application stops"]
    assert bench.calls == ["up", "down"]


async def test_observe_speaks_to_the_request_it_runs_in_and_threads_and_tasks_inherit_it():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        observe(predicted_class="cat")
        await asyncio.to_thread(observe, confidence=0.5)
        await asyncio.create_task(_later())
        await send(START)
        await send(BODY)

    async def _later() -> None:
        observe(predicted_class="dog", request_id="7")

    before = orphan_observes()
    bench = Bench(app)
    await bench.run()
    assert bench.exchanges[0].notes == {"predicted_class": "dog", "confidence": 0.5, "request_id": "7"}
    assert orphan_observes() == before


def test_observe_outside_of_a_request_counts():
    before = orphan_observes()
    observe(predicted_class="cat")
    observe(confidence=float("nan"), embedding=object())
    assert orphan_observes() == before + 2


async def test_requests_at_the_same_time_keep_apart():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = (await receive())["body"]
        await asyncio.sleep(0.001 * (int(number) % 7))
        observe(request_id=number.decode())
        await send(START)
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": number})

    bench = Bench(app)
    await asyncio.gather(
        *(bench.run({"type": "http.request", "body": str(number).encode()}) for number in range(100))
    )
    for exchange in bench.exchanges:
        assert exchange.notes == {"request_id": exchange.request_body.decode()}
        assert exchange.response_body == exchange.request_body
    assert len(bench.exchanges) == 100


@pytest.mark.parametrize("headers", [iter, lambda given: (pair for pair in given), tuple, list])
async def test_headers_of_any_iterable_reach_the_server_and_the_application(headers: Any):
    """ASGI allows any iterable, and an iterator can be read but once."""
    asked, told = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.extend(scope["headers"])
        await send({**START, "headers": headers([(b"y", b"2"), (b"z", b"3")])})
        await send(BODY)

    async def send(message: Any) -> None:
        told.extend(message.get("headers", ()))

    bench = Bench(app)
    await bench.middleware({**SCOPE, "headers": headers([(b"x", b"1")])}, None, send)  # type: ignore[arg-type]
    assert (asked, told) == ([(b"x", b"1")], [(b"y", b"2"), (b"z", b"3")])
    (exchange,) = bench.exchanges
    assert list(exchange.request_headers) == asked
    assert list(exchange.response_headers) == told


async def test_what_an_application_s_own_iterator_raises_is_the_application_s():
    def broken() -> Any:
        yield (b"y", b"2")
        raise KeyError("the application's")

    bench = Bench(answering({**START, "headers": broken()}))
    with pytest.raises(KeyError, match="the application's"):
        await bench.run()
    assert bench.errors == 0


@pytest.mark.parametrize(
    ("root", "path", "recorded"),
    [
        ("/api", "/api/predict", "/predict"),
        ("/api/", "/api/predict", "/predict"),
        ("/api", "/predict", "/predict"),
        ("/", "/predict", "/predict"),
        ("", "/predict", "/predict"),
        ("/api", "/apipredict", None),
        ("/api", "/api/other", None),
        ("/api", "/api", None),
    ],
)
async def test_paths_are_those_of_the_application_wherever_it_is_mounted(
    root: str, path: str, recorded: str | None
):
    bench = Bench(answering(START, BODY))
    await bench.run(scope={**SCOPE, "root_path": root, "path": path})
    assert [exchange.path for exchange in bench.exchanges] == ([recorded] if recorded else [])


async def test_the_whole_path_works_too():
    bench = Bench(answering(START, BODY), matches=lambda path: path == "/api/predict")
    await bench.run(scope={**SCOPE, "root_path": "/api", "path": "/api/predict"})
    assert len(bench.exchanges) == 1


JSON = (b"content-type", b"application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "headers", "said", "counts"),
    [
        ("POST", [], False, True),
        ("GET", [], False, False),
        ("GET", [(b"content-type", b"text/html")], False, False),
        ("GET", [JSON], False, True),
        ("GET", [], True, True),
        ("HEAD", [JSON], True, False),
        ("OPTIONS", [JSON], False, False),
        ("TRACE", [JSON], False, False),
    ],
)
async def test_what_asks_for_no_prediction_is_no_observation(
    method: str, headers: list[Any], said: bool, counts: bool
):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if said:
            observe(predicted_class="cat")
        await send({**START, "headers": headers})
        await send(BODY)

    bench = Bench(app)
    await bench.run(scope={**SCOPE, "method": method})
    assert (len(bench.exchanges), len(bench.sent)) == (int(counts), 2)


async def test_a_get_with_a_body_asks_for_one():
    bench = Bench(answering(START, BODY))
    await bench.run({"type": "http.request", "body": b"{}"}, scope={**SCOPE, "method": "GET"})
    assert len(bench.exchanges) == 1


async def test_a_clock_that_is_set_back_makes_no_negative_duration():
    bench = Bench(answering(START, BODY))
    bench.middleware._clock = iter([100.0, 40.0]).__next__
    await bench.run()
    (exchange,) = bench.exchanges
    assert exchange.ended - exchange.started == 0.0


async def test_observe_in_a_background_task_counts_as_nobody_s():
    after = asyncio.Event()

    async def later() -> None:
        await after.wait()
        observe(predicted_class="dog")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.create_task(later()))
        await send(START)
        await send(BODY)

    tasks: list[asyncio.Task[None]] = []
    before = orphan_observes()
    bench = Bench(app)
    await bench.run()
    after.set()
    await tasks[0]
    assert bench.exchanges[0].notes is None
    assert orphan_observes() == before + 1
