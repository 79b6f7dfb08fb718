"""What `docs/record.md` shows works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import exporter
from exporter.hook import InferenceExporter
from tests.test_direct import Gateway

PAGE = Path(exporter.__file__).parents[1] / "docs" / "record.md"


def test_its_examples_run_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("exporter.hook.REGISTRY", CollectorRegistry())
    namespace: dict[str, Any] = {"__name__": "page"}
    exporters: list[InferenceExporter] = []
    with Gateway() as gateway:
        page = PAGE.read_text(encoding="utf-8").replace("port=10911", "port=0")
        page = page.replace("http://pushgateway:9091", gateway.url)
        for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(compile(text, str(PAGE), "exec"), namespace)
            exporters.append(namespace["exporter"])
    job, flask = exporters[0], exporters[-1]
    assert namespace["n_queued"] == 1000
    balance = job.runtime.monitor.ledger.balance()
    assert (balance.processed + balance.sampled_out, balance.dropped) == (1001, {})
    assert gateway.pushed[0][1] == "/metrics/job/nightly/instance/eu"
    assert 'predicted_class_total{class_name="cat"' in gateway.pushed[0][2]
    client = namespace["app"].test_client()
    assert client.post("/predict").get_json() == {"prediction": "cat", "probability": 0.93}
    assert flask.flush(20)
    assert (
        'http_requests_total{handler="/predict",method="POST",status="2xx"} 1.0'
        in client.get("/metrics").text
    )
    assert (
        'predicted_class_total{class_name="cat",model="cats",version=""} 1.0' in client.get("/metrics").text
    )
    assert capsys.readouterr().out == ""
    namespace["server"].close()
    for each in (job, flask):
        each.stop()
