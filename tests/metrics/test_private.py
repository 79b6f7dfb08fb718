"""What is private to prometheus-client is touched in one file, and pre-fork mode is decided in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Summary

from exporter.metrics.private import numbers, observe_all, series_of

PACKAGE = Path(__file__).parents[2] / "exporter"
INSTRUMENTS = (Counter, Gauge, Histogram, Summary)
BOUNDS = (-1.0, 0.0, 0.1, 0.5)


def private_names() -> set[str]:
    """Attributes of prometheus-client's own objects that begin with one underscore."""
    registry = CollectorRegistry()
    made = [kind(f"a_{kind.__name__.lower()}", "A.", ["b"], registry=registry) for kind in INSTRUMENTS]
    things = [*made, *(thing.labels("c") for thing in made), registry]
    return {name for thing in things for name in dir(thing) if name[0] == "_" and name[1] != "_"}


def reached(source: str, private: set[str]) -> Iterator[str]:
    """Private names read from or written to anything but the object's or the class's own self."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in private:
            owner = node.value
            if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls")):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_one_file_alone_reaches_into_prometheus_client():
    private = private_names()
    assert {"_value", "_sum", "_buckets", "_metrics", "_labelnames", "_upper_bounds"} <= private
    for path in PACKAGE.rglob("*.py"):
        found = list(reached(path.read_text(encoding="utf-8"), private - {"_lock"}))
        if path == PACKAGE / "metrics" / "private.py":
            assert found
        else:
            assert not found, f"{path.relative_to(PACKAGE)}: {found}; it belongs in metrics/private.py"


def test_only_composition_roots_ask_whether_processes_share_their_metrics():
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "multiprocess_folder" in path.read_text(encoding="utf-8")
    }
    assert asking == {"metrics/exposition.py", "runtime.py"}


def test_the_numbers_of_every_kind_of_instrument_can_be_read_and_added_to():
    registry = CollectorRegistry()
    for kind in INSTRUMENTS:
        name = kind.__name__.lower()
        series = kind(name, "A.", registry=registry)
        for _, number in numbers(series):
            number.inc(2)
            assert number.get() == 2
    assert registry.get_sample_value("counter_total") == 2
    assert registry.get_sample_value("summary_count") == 2
    assert registry.get_sample_value("histogram_count") == 2 * len(Histogram.DEFAULT_BUCKETS)
    with pytest.raises(TypeError, match="Enum is no instrument of ours"):
        numbers(Enum("d", "E.", states=["f"], registry=None))


def samples(histogram: Histogram) -> list[tuple[str, float]]:
    (metric,) = histogram.collect()
    return [
        (f"{sample.name} {sample.labels}", sample.value)
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]


@pytest.mark.parametrize(
    "amounts",
    [
        [],
        [0.1],
        [*BOUNDS, *(np.nextafter(bound, 9.0) for bound in BOUNDS), -5.0, 1e300],
        np.random.default_rng(0).normal(size=300),
    ],
    ids=["none", "one", "at the bounds", "many"],
)
def test_many_observations_at_once_count_like_one_after_the_other(amounts: list[float]):
    one, many = (Histogram("x", "", buckets=BOUNDS, registry=None) for _ in range(2))
    for amount in amounts:
        one.observe(amount)
    observe_all(many, amounts)
    observe_all(many, [])
    assert [name for name, _ in samples(many)] == [name for name, _ in samples(one)]
    assert [value for _, value in samples(many)] == pytest.approx([value for _, value in samples(one)])


def test_every_series_is_listed_with_its_labels():
    counter = Counter("a", "B.", ["c"], registry=None)
    first, second = counter.labels("d"), counter.labels("e")
    assert dict(series_of(counter)) == {("d",): first, ("e",): second}
    alone = prometheus_client.Gauge("f", "G.", registry=None)
    assert dict(series_of(alone)) == {(): alone}
