"""Totals reach their counters, once each, whenever they are carried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from exporter.metrics.totals import Totals


def counter(name: str) -> tuple[CollectorRegistry, Counter]:
    registry = CollectorRegistry()
    return registry, Counter(name, "A counter.", registry=registry)


@given(st.lists(st.integers(0, 5)))
def test_a_counter_shows_the_total_whenever_it_is_carried(steps: list[int]):
    registry, counted = counter("events")
    totals, total = Totals(), 0
    for step in steps:
        total += step
        totals.carry(counted, total)
        totals.carry(counted, total)
        assert registry.get_sample_value("events_total") == total


def test_each_counter_has_a_total_of_its_own():
    totals = Totals()
    (one, first), (two, second) = counter("one"), counter("two")
    totals.carry(first, 3)
    totals.carry(second, 5)
    assert (one.get_sample_value("one_total"), two.get_sample_value("two_total")) == (3, 5)


def test_totals_that_begin_anew_add_to_what_stands():
    registry, counted = counter("events")
    totals = Totals()
    totals.carry(counted, 3)
    totals.begin_anew()
    totals.carry(counted, 2)
    assert registry.get_sample_value("events_total") == 5


def test_a_reset_takes_the_counters_along():
    registry, counted = counter("events")
    totals = Totals()
    totals.carry(counted, 3)
    totals.reset()
    assert registry.get_sample_value("events_total") == 0
    totals.carry(counted, 2)
    assert registry.get_sample_value("events_total") == 2


def test_a_total_that_went_down_is_refused():
    _, counted = counter("events")
    totals = Totals()
    totals.carry(counted, 3)
    with pytest.raises(ValueError, match="non-negative"):
        totals.carry(counted, 2)
