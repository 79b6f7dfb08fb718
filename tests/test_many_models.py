"""The hook and the sidecar with `model: auto`: what each request names is what its numbers stand under."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from exporter.hook import InferenceExporter
from exporter.receivers.asgi.context import observe
from tests.servers import get, wait_for
from tests.sidecar.inprocess import running


async def service(scope: Any, receive: Any, send: Any) -> None:
    """Says of each request what was asked of it, and observes half of them."""
    body = json.loads((await receive())["body"])
    if body.get("observe"):
        observe(confidence=0.5)
    answer = json.dumps({"prediction": body["say"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer})


async def ask(app: Any, path: str, **body: Any) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(_: Any) -> None: ...

    await app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)


def classes(text: str) -> Counter[tuple[str, str]]:
    """Predictions by model and class."""
    return Counter(
        {
            (sample.labels["model"], sample.labels["class_name"]): int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "predicted_class_total" and sample.value
        }
    )


def served(exporter: InferenceExporter) -> Counter[tuple[str, str]]:
    for monitor in exporter.runtime.models.all:
        assert monitor.worker.drain(60)
        assert monitor.ledger.balance().balanced
    return classes(exporter.runtime.render()[1].decode())


def hook(**keys: Any) -> InferenceExporter:
    paths = {"paths": ["/v2/models/*", "/v1/*", "/predict"]}
    return InferenceExporter(model="auto", capture=paths, drift=[], **keys)


def requests(app: Any) -> Counter[tuple[str, str]]:
    async def all_of_it() -> None:
        for n in range(9):
            await ask(app, f"/v2/models/m{n % 3}/infer", say=f"c{n % 2}", observe=n % 2)
        await ask(app, "/v1/chat/completions", model="llm", say="stop")
        await ask(app, "/predict", say="cat")

    asyncio.run(all_of_it())
    told = Counter((f"m{n % 3}", f"c{n % 2}") for n in range(9))
    return told + Counter({("llm", "stop"): 1, ("model", "cat"): 1})


@pytest.mark.parametrize("max_models", [20, 2])
def test_the_hook_keeps_models_apart(max_models: int):
    exporter = hook(max_models=max_models)
    told = requests(exporter.wrap(service))
    if max_models == 2:
        told = Counter(
            {
                key: sum(n for (name, word), n in told.items() if key == (shown(name), word))
                for key in {(shown(name), word) for name, word in told}
            }
        )
    assert served(exporter) == told
    exporter.stop()


def shown(name: str) -> str:
    return name if name in ("m0", "m1", "model") else "other"


def test_with_a_helper_that_dies_each_goes_on(isolated: None):
    exporter = hook()
    told = requests(exporter.wrap(service))
    assert served(exporter) == told
    helper = exporter.runtime.helper
    assert helper is not None
    assert helper.pid is not None
    os.kill(helper.pid, signal.SIGKILL)
    wait_for(lambda: exporter.runtime.render() and helper.pid is None, what="the end to be noticed")
    assert requests(exporter.wrap(service)) == told
    assert served(exporter) == told + told
    exporter.stop()


@pytest.mark.parametrize("isolated", [False, True], ids=["thread", "process"])
def test_a_model_has_buckets_of_its_own(isolated: bool):
    models = {"price*": {"capture": {"value_buckets": [100, 200]}}, "ratio": {}}
    exporter = hook(models=models, registry=CollectorRegistry())
    try:
        for name in ("prices", "ratio"):  # the one is met on the way, the other known beforehand
            exporter.record(model=name, value=150.0)
        assert exporter.flush(60)
        text = exporter.runtime.render()[1].decode()
    finally:
        exporter.stop()
    found: dict[str, dict[str, float]] = {"prices": {}, "ratio": {}}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == "prediction_value_bucket" and each.labels["model"] in found:
                found[each.labels["model"]][each.labels["le"]] = each.value
    assert found["prices"] == {"100.0": 0, "200.0": 1, "+Inf": 1}
    assert found["ratio"].keys() > {"1.0", "1000.0"}
    assert found["ratio"]["+Inf"] == 1


def test_a_sidecars_reload_brings_models_and_takes_them_away(tmp_path: Path):
    text = "model: auto\ndrift: []\ncapture: {{paths: ['/v2/models/*']}}\nmodels: {{{models}}}\n"
    with running(tmp_path, text.format(models="a: {}")) as sidecar:
        for name in ("a", "b", "b", "c"):
            assert sidecar.say("cat", f"/v2/models/{name}/infer")[0] == 200

        def shown() -> Counter[tuple[str, str]]:
            return classes(get(sidecar.admin, "/metrics")[1])

        first = {("a", "cat"): 1, ("b", "cat"): 2, ("c", "cat"): 1}
        wait_for(lambda: shown() == first, what="three models")
        sidecar.reload("model: kept\ndrift: []\ncapture: {paths: ['/v2/models/*']}\nmodels: {b: {}, d: {}}\n")

        def names() -> set[str]:
            found = text_string_to_metric_families(get(sidecar.admin, "/metrics")[1])
            return {
                each.labels["model"] for family in found for each in family.samples if "model" in each.labels
            }

        wait_for(lambda: names() == {"kept", "b", "d"}, what="the others")
        for name in ("a", "b", "d"):
            assert sidecar.say("dog", f"/v2/models/{name}/infer")[0] == 200
        last = {("b", "cat"): 2, ("kept", "dog"): 1, ("b", "dog"): 1, ("d", "dog"): 1}
        wait_for(lambda: shown() == last, what="the count by the new file")
        changed = text.format(models="b: {queue: {max_items: 5}}, d: {}").replace("auto", "kept")
        sidecar.reload(changed)
        success = "inference_exporter_config_reload_success"
        wait_for(lambda: sidecar.sample(success) == 0, what="the refusal of what needs a restart")
