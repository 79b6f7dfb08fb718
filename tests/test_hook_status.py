"""What the hook says of its last exchanges, wherever they are read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter import InferenceExporter
from tests.servers import wait_for


def application(response: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(response).encode()})

    return app


async def ask(app: Any, body: bytes) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(_: Any) -> None: ...

    await app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)


@pytest.mark.parametrize("isolation", ["thread", "auto"])
def test_what_was_found_and_what_was_not(isolation: str):
    exporter = InferenceExporter(model="m", isolation=isolation, drift=[], registry=CollectorRegistry())
    try:
        asyncio.run(ask(exporter.wrap(application({"label": "cat"})), b'{"age": 45, "income": 2.5}'))
        asyncio.run(ask(exporter.wrap(application({"odd": "secret"})), b'{"prompt": "hunter2"}'))
        model = wait_for(
            lambda: next((each for each in exporter.status()["models"] if each["exchanges"] == 2), None),
            60,
            "two exchanges",
        )
    finally:
        exporter.stop()
    assert (model["model"], model["read"]) == ("m", 1)
    (found,) = model["found"]
    assert found["features"] == ["age", "income"]
    (unread,) = model["not_read"]
    assert (unread["reason"], unread["response_keys"]) == ("no_prediction", ["odd (text)"])
    assert "secret" not in json.dumps(model)
    assert "hunter2" not in json.dumps(model)


def test_metrics_that_are_switched_off_have_nothing_to_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENABLE_METRICS", "false")
    assert InferenceExporter(model="m").status()["models"] == []
