"""The contract agrees with itself and with Prometheus's conventions."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from exporter.metrics.contract import (
    CONFIDENCE_BUCKETS,
    CONTRACT,
    DRIFT,
    DROP_REASONS,
    ERROR_STAGES,
    FORWARD,
    HTTP,
    HTTP_DURATION_BUCKETS,
    INGEST,
    INVALID_VALUES,
    LEDGER,
    OPERATION,
    PREDICTIONS,
    SIDECAR,
    TEST_STAT_BUCKETS,
    Spec,
)
from exporter.metrics.instruments import Instruments

GOLDEN = Path(__file__).parent / "golden" / "fresh_metrics.txt"
by_name = pytest.mark.parametrize("spec", CONTRACT, ids=lambda spec: spec.name)
# What must not be a label: it has no bound, or it identifies somebody.
UNBOUNDED = {
    "path",
    "url",
    "id",
    "request_id",
    "user",
    "client",
    "address",
    "query",
    "message",
    "le",
    "quantile",
}


def test_names_are_unique_and_every_part_is_in_the_contract():
    names = [spec.name for spec in CONTRACT]
    assert len(set(names)) == len(names)
    assert set(CONTRACT) == {
        *PREDICTIONS,
        *DRIFT,
        *LEDGER,
        *OPERATION,
        *FORWARD,
        *INGEST,
        *SIDECAR,
        *HTTP,
    }


@by_name
def test_a_name_follows_the_conventions(spec: Spec):
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", spec.name)
    assert spec.name.endswith("_total") == (spec.type == "counter")
    assert not re.search(r"_(count|sum|bucket|info_total|gauge|counter|histogram|summary)$", spec.name)
    assert not re.search(r"_(ms|millis|milliseconds|minutes|hours|days|kb|mb|percent)(_|$)", spec.name)


@by_name
def test_a_help_text_is_a_sentence(spec: Spec):
    assert spec.help[0].isupper() or spec.help[0].isdigit()
    assert spec.help.endswith(".")
    assert "\n" not in spec.help


@by_name
def test_labels_are_few_and_bounded(spec: Spec):
    assert len(set(spec.labels)) == len(spec.labels) <= 4
    assert not UNBOUNDED & set(spec.labels)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in spec.labels)
    if spec.name.startswith(("prediction", "predicted", "drift")):
        assert spec.labels[0] == "model"
    if "model" in spec.labels:
        assert spec.labels[:2] == ("model", "version")


@by_name
def test_histograms_and_only_they_have_ascending_buckets(spec: Spec):
    assert bool(spec.buckets) == (spec.type == "histogram")
    assert all(low < high for low, high in pairwise(spec.buckets))


def test_gauges_of_several_processes_become_one_in_a_sensible_way():
    gauges = {spec.name: spec.multiprocess for spec in CONTRACT if spec.type == "gauge"}
    assert gauges["inference_exporter_queued"] == "livesum"
    assert gauges["inference_exporter_queue_bytes"] == "livesum"
    assert gauges["drift_active"] == "livemax"
    assert gauges["drift_calibration_ok"] == "livemin"
    assert all(mode.startswith("live") for mode in gauges.values())


def test_the_buckets_do_what_they_are_for():
    assert tuple(n / 10 for n in range(11)) == CONFIDENCE_BUCKETS
    within = [bound for bound in HTTP_DURATION_BUCKETS if 0.005 <= bound <= 10]
    assert len(within) >= 10
    assert (within[0], within[-1]) == (0.005, 10.0)
    assert sum(bound < 0 for bound in TEST_STAT_BUCKETS) >= 3
    assert TEST_STAT_BUCKETS[-1] == 2.0
    # A threshold and twice the threshold are never in the same bucket, wherever calibration finds it.
    between = [bound for bound in TEST_STAT_BUCKETS if bound >= 0.001]
    assert all(high / low <= 2.0 for low, high in pairwise(between))


def test_values_of_labels_are_words():
    words = [*DROP_REASONS, *ERROR_STAGES, *(word for pair in INVALID_VALUES for word in pair)]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", word) for word in words)
    assert len(set(DROP_REASONS)) == len(DROP_REASONS)


def test_promtool_finds_nothing_to_say():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    registry = CollectorRegistry()
    Instruments(registry, sidecar=True)
    for text in (generate_latest(registry), GOLDEN.read_bytes()):
        result = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_promtool_would_say_something():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    text = b"# HELP a_ms_total x\n# TYPE a_ms_total gauge\na_ms_total 1\n"
    result = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert result.returncode != 0
