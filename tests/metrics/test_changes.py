"""Changes of one process's instruments arrive in another's, whatever their kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Enum

from exporter.metrics.changes import Incoming, Outgoing
from exporter.metrics.instruments import Instruments


class Pair:
    def __init__(self) -> None:
        self.here = Instruments(CollectorRegistry(), sidecar=True)
        self.there = Instruments(CollectorRegistry(), sidecar=True)
        self.outgoing = Outgoing(self.there)
        self.incoming = Incoming(self.here)

    def carry(self) -> int:
        changes = self.outgoing.changes()
        self.incoming.apply(changes)
        return len(changes.amounts)


def seen(instruments: Instruments) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): pytest.approx(sample.value)
        for metric in instruments.collect()
        for sample in metric.samples
    }


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("class"), st.sampled_from("abc")),
        st.tuples(st.just("confidence"), st.floats(0, 1)),
        st.tuples(st.just("statistic"), st.floats(-1, 1)),
        st.tuples(st.just("active"), st.sampled_from([0.0, 1.0])),
        st.tuples(st.just("queued"), st.integers(0, 5)),
        st.tuples(st.just("carry"), st.none()),
    ),
    max_size=30,
)


@given(STEPS)
def test_both_show_the_same(steps):
    pair = Pair()
    there = pair.there
    for what, value in steps:
        if what == "class":
            there["predicted_class_total"].labels("m", "", value).inc()
        elif what == "confidence":
            there["prediction_confidence"].labels("m", "").observe(value)
        elif what == "statistic":
            there["drift_test_stat"].labels("m", "", "mmd").observe(value)
        elif what == "active":
            there["drift_active"].labels("m", "", "mmd").set(value)
        elif what == "queued":
            there["inference_exporter_queued"].labels("m", "").set(value)
        else:
            pair.carry()
    pair.carry()
    shown = seen(pair.here)
    expected = seen(there)
    # A counter that was looked up and never moved is not worth a message.
    assert {key: value for key, value in expected.items() if value != 0 or key in shown} == shown
    assert pair.carry() == 0


def test_counters_add_to_what_is_there_and_gauges_replace_it():
    pair = Pair()
    pair.here["predicted_class_total"].labels("m", "", "a").inc(5)
    pair.here["drift_active"].labels("m", "", "mmd").set(1)
    pair.there["predicted_class_total"].labels("m", "", "a").inc(2)
    pair.there["drift_active"].labels("m", "", "mmd").set(0)
    pair.carry()
    assert pair.here["predicted_class_total"].labels("m", "", "a")._value.get() == 7
    assert pair.here["drift_active"].labels("m", "", "mmd")._value.get() == 0


def test_a_successor_takes_nothing_away():
    pair = Pair()
    pair.there["predicted_class_total"].labels("m", "", "a").inc(2)
    pair.carry()
    successor = Instruments(CollectorRegistry(), sidecar=True)
    successor["predicted_class_total"].labels("m", "", "a").inc(1)
    Incoming(pair.here).apply(Outgoing(successor).changes())
    assert pair.here["predicted_class_total"].labels("m", "", "a")._value.get() == 3


def test_an_instrument_of_another_kind_is_an_error():
    pair = Pair()
    pair.there._by_name["odd"] = Enum("odd", "Odd.", states=["a"], registry=None)
    with pytest.raises(TypeError, match="no instrument of ours"):
        pair.outgoing.changes()
