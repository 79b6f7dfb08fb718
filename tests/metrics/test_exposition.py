"""Rendering, for one process and for several that share a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from exporter.metrics.exposition import multiprocess_folder, render

ROOT = Path(__file__).parents[2]

# A pre-fork server in small: the exporter is made, and its detector loaded, before the workers are
# forked; each worker handles its share; one is killed; the last one answers the scrape.
_SERVER = """
import json, os, signal, sys, time
import numpy as np
from exporter.config import Config, MMDConfig, LearnConfig, QueueConfig
from exporter.observation import Observation
from exporter.runtime import Runtime

ending = sys.argv[1]
runtime = Runtime(Config(
    model="m",
    drift=(MMDConfig(window=10, reference=LearnConfig(learn=100000)),),
    queue=QueueConfig(flush_interval_seconds=0.001),
))

def work(n):
    for row in np.random.default_rng(n).normal(size=(n, 4)):
        runtime.submit(Observation("m", "hook", 0.0, "cat", 0.9, embedding=row), "hook")
    assert runtime.monitor.worker.drain(10)

children = []
for n in (100, 250):
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(n)
        os.write(told, b"x")
        if ending == "stop":
            runtime.stop()
            os._exit(0)
        time.sleep(60)
    os.read(ready, 1)
    children.append(pid)
if ending == "kill":
    os.kill(children[0], signal.SIGKILL)
    os.waitpid(children[0], 0)
elif ending == "stop":
    for pid in children:
        os.waitpid(pid, 0)
idle = os.fork()
if idle == 0:
    os._exit(0)
os.waitpid(idle, 0)
scraper = os.fork()
if scraper == 0:
    work(7)
    text = runtime.render()[1].decode()
    files = sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    print(json.dumps({"text": text, "files": files, "children": children, "idle": idle}), flush=True)
    runtime.stop()
    os._exit(0)
os.waitpid(scraper, 0)
if ending != "stop":
    for pid in children[ending == "kill":]:
        os.kill(pid, signal.SIGKILL)
"""


def server(folder: Path, ending: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _SERVER, ending],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    lines = [line.rpartition(" ") for line in answer["text"].splitlines() if not line.startswith("#")]
    answer["values"] = {name: float(value) for name, _, value in lines}
    return answer


def total(values: dict[str, float], name: str) -> float:
    return sum(
        value for key, value in values.items() if key.partition("{")[0] == f"inference_exporter_{name}"
    )


@pytest.mark.parametrize("ending", ["run on", "stop", "kill"])
def test_several_processes_are_one_to_the_scrape(tmp_path: Path, ending: str):
    answer = server(tmp_path, ending)
    values = answer["values"]
    assert values['predicted_class_total{class_name="cat",model="m",version=""}'] == 357
    assert values['prediction_confidence_count{model="m",version=""}'] == 357
    assert total(values, "observations_total") == 357
    assert total(values, "processed_total") == 357
    assert total(values, "dropped_total") == total(values, "sampled_out_total") == 0
    assert values['inference_exporter_queued{model="m",version=""}'] == 0
    states = [key for key, value in values.items() if key.startswith("drift_detector_state") and value]
    assert len(states) == 1
    assert 'state="learning"' in states[0]
    # A statistic may be negative, and a sum that goes down is none; creation times are of no use.
    assert not [key for key in values if key.startswith("drift_test_stat_sum") or "_created" in key]
    assert not [name for name in answer["files"] if name.endswith(f"_{answer['idle']}.db")]
    gauges = {name.rpartition("_")[2] for name in answer["files"] if name.startswith("gauge_live")}
    counters = {name.rpartition("_")[2] for name in answer["files"] if name.startswith("counter")}
    killed, other = (f"{pid}.db" for pid in answer["children"])
    assert {killed, other} <= counters
    assert (killed in gauges, other in gauges) == {
        "run on": (True, True),
        "stop": (False, False),
        "kill": (False, True),
    }[ending]


def test_one_process_renders_its_registry():
    registry = CollectorRegistry()
    Counter("a", "B.", registry=registry).inc()
    content_type, body = render(registry)
    assert content_type.startswith("text/plain")
    assert b"a_total 1.0\n" in body
    content_type, body = render(registry, "application/openmetrics-text;version=1.0.0,text/plain;q=0.1")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


PLAIN, OPEN = b"a_total 1.0\n", b"# EOF\n"


@pytest.mark.parametrize(
    ("accept", "content_type", "ending"),
    [
        ("application/openmetrics-text; version=abc", "text/plain; version=0.0.4", PLAIN),
        ("text/plain; version=abc", "text/plain; version=0.0.4", PLAIN),
        ("application/openmetrics-text; version=2.0.0", "text/plain; version=0.0.4", PLAIN),
        ("text/plain; version=2.0.0", "text/plain; version=0.0.4", PLAIN),
        ("text/plain; version=", "text/plain; version=0.0.4", PLAIN),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0", OPEN),
        (
            "application/openmetrics-text; version=2.0.0, application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=1.0.0",
            OPEN,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4",
            "application/openmetrics-text; version=1.0.0",
            OPEN,
        ),
    ],
)
def test_a_version_is_named_only_where_it_is_written(accept: str, content_type: str, ending: bytes):
    registry = CollectorRegistry()
    Counter("a", "B.", registry=registry).inc()
    chosen, body = render(registry, accept)
    assert chosen.startswith(content_type)
    assert ending in body
    assert body.endswith(b"# EOF\n") == (ending == OPEN)


@pytest.mark.parametrize(("value", "folder"), [(None, None), ("", None), ("/tmp/x", Path("/tmp/x"))])
def test_the_folder_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str | None, folder: Path | None
):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", value)
    assert multiprocess_folder() == folder
