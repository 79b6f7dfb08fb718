"""A reload takes over what it can and refuses the rest by name; it never says success for what it ignores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from exporter.config import Config
from exporter.config.base import Section
from exporter.config.loading import load_config
from exporter.runtime import Runtime
from exporter.sidecar.analyzer import TAKEN_OVER, needing_restart
from exporter.sidecar.ingest import Ingest
from tests.receivers.ingest.test_app import Client
from tests.servers import wait_for
from tests.sidecar.inprocess import running

BASE = {"model": "m", "sidecar": {"upstream": "http://127.0.0.1:1"}, "admin": {"token": "first-token"}}


def loaded(**changed: Any) -> Config:
    data = {**BASE, **changed}
    return load_config(data, environment={})


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({"model": "other"}, []),
        ({"models": {"m": {"drift": []}}, "version": "2"}, []),
        ({"admin": {"token": "second-token"}}, ["admin.token"]),
        ({"admin": {"token": "first-token", "listen": "127.0.0.1:2"}}, ["admin.listen"]),
        ({"sidecar": {"upstream": "http://127.0.0.1:2"}}, ["sidecar.upstream"]),
        ({"sidecar": None}, ["sidecar"]),
        ({"capture": {"max_body_bytes": 1}}, ["capture.max_body_bytes"]),
        ({"capture": {"value_buckets": [1, 2]}}, ["capture.value_buckets"]),
        (
            {"queue": {"max_items": 3, "max_batch": 2}, "ingest": {"enabled": True}},
            ["queue.max_items", "queue.max_batch", "ingest.enabled"],
        ),
        ({"labels": {"window": "1h"}}, ["labels.window"]),
        ({"drift": [{"reference": {"learn": 500}}]}, []),
        ({"capture": {"paths": ["/a"], "max_classes": 5, "payload": "headers"}}, []),
        ({"capture": {"payload": "fields", "fields": {"value": "a.b"}}}, []),
        ({"alerts": {"min_confidence": 0.5}}, []),
    ],
)
def test_what_needs_a_restart_is_named(changed: dict[str, Any], keys: list[str]) -> None:
    assert needing_restart(loaded(), loaded(**changed)) == keys


def test_what_is_taken_over_exists() -> None:
    for key in TAKEN_OVER:
        section: Any = Config
        for part in key.split("."):
            field = section.model_fields[part]
            section = field.annotation
            if not (isinstance(section, type) and issubclass(section, Section)):
                break


def test_a_refusal_names_the_key_and_not_the_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path) as sidecar:
        sidecar.reload("model: m\nqueue: {max_items: 7}\n")
        wait_for(lambda: sidecar.sample("inference_exporter_config_reload_success") == 0, what="the refusal")
        # What the command line gave is not taken for a change of the file.
        sidecar.reload("model: m\nsidecar: {upstream: 'http://127.0.0.1:9'}\n")
        wait_for(lambda: sidecar.sample("inference_exporter_config_reload_success") == 1, what="the reload")
    said = capfd.readouterr().err
    assert "queue.max_items: changed, which needs a restart" in said


async def test_ingest_reads_by_the_configuration_in_force() -> None:
    config = load_config({"model": "m", "ingest": {"enabled": True}}, environment={})
    runtime = Runtime(config, sidecar=True)
    client = Client()
    client.app = Starlette(routes=Ingest(runtime).app.routes)
    other = config.model_copy(
        update={
            "capture": config.capture.model_copy(
                update={
                    "payload": "fields",
                    "fields": config.capture.fields.model_copy(update={"value": "a.b"}),
                }
            )
        }
    )
    runtime.reconfigure(other)
    read: list[Any] = []
    runtime.submit = lambda item, source, model: bool(read.append(item)) or True  # type: ignore[method-assign,assignment]

    def event(kind: str, body: bytes) -> list[tuple[bytes, bytes]]:
        return [
            (b"content-type", b"application/json"),
            (b"ce-specversion", b"1.0"),
            (b"ce-id", b"1"),
            (b"ce-source", b"s"),
            (b"ce-type", f"org.kubeflow.serving.inference.{kind}".encode()),
        ]

    for kind, body in (("request", b"{}"), ("response", b'{"a": {"b": 4.5}}')):
        status, _, text = await client.request("POST", "/v1/observations", body, event(kind, body))
        assert status == 202, text
    (exchange,) = read
    assert [seen.value for seen in runtime.pipeline.extractor.observations("ingest", exchange)] == [4.5]
