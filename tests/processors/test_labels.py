from __future__ import annotations

import threading

import pytest

from exporter.config import LabelsConfig
from exporter.observation import Label, Observation
from exporter.processors.labels import LabelJoiner


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def seen(request_id: str | None, predicted: str = "cat", model: str = "m") -> Observation:
    return Observation(
        model=model,
        source="hook",
        timestamp=5.0,
        predicted_class=predicted,
        confidence=0.5,
        embedding=[1.0],
        request_id=request_id,
    )


@pytest.mark.parametrize("label_first", [False, True])
def test_a_pair_joins_once_whichever_comes_first(label_first):
    joiner = LabelJoiner(LabelsConfig())
    label = Label("m", "r1", "dog")
    if label_first:
        assert joiner.labelled(label) == ("waiting", None)
        pair = joiner.observed(seen("r1"))
    else:
        assert joiner.observed(seen("r1")) is None
        outcome, pair = joiner.labelled(label)
        assert outcome == "joined"
    assert pair is not None
    assert (pair.predicted_class, pair.label, pair.confidence, pair.timestamp) == ("cat", "dog", 0.5, 5.0)
    assert joiner.labelled(label) == ("duplicate", None)
    assert joiner.labelled(Label("m", "r1", "cow")) == ("conflict", None)
    assert joiner.observed(seen("r1", "other")) is None


def test_the_same_class_written_in_another_way_is_the_same_label():
    joiner = LabelJoiner(LabelsConfig())
    assert joiner.labelled(Label("m", "r1", "1")) == ("waiting", None)
    assert joiner.labelled(Label("m", "r1", 1.0)) == ("duplicate", None)
    assert joiner.labelled(Label("m", "r1", 1.5)) == ("conflict", None)


def test_models_are_apart_and_ids_are_needed():
    joiner = LabelJoiner(LabelsConfig())
    joiner.observed(seen("r1", model="a"))
    joiner.observed(seen(None))
    assert joiner.labelled(Label("b", "r1", "x"))[0] == "waiting"
    assert len(joiner) == 2


def test_the_window_is_bounded_in_time():
    clock = Clock()
    joiner = LabelJoiner(LabelsConfig(window=10.0), clock)
    joiner.observed(seen("old"))
    clock.now = 9.9
    joiner.observed(seen("new"))
    assert joiner.labelled(Label("m", "old", "x"))[0] == "joined"
    clock.now = 20.1
    assert joiner.labelled(Label("m", "new", "x"))[0] == "waiting"
    assert len(joiner) == 1


def test_the_window_is_bounded_in_number():
    joiner = LabelJoiner(LabelsConfig(max_items=3))
    for index in range(1000):
        joiner.observed(seen(f"r{index}"))
    assert len(joiner) == 3
    assert joiner.labelled(Label("m", "r999", "x"))[0] == "joined"
    assert joiner.labelled(Label("m", "r0", "x"))[0] == "waiting"


def test_many_threads_join_every_pair_once():
    joiner = LabelJoiner(LabelsConfig())
    pairs: list[object] = []

    def observe() -> None:
        pairs.extend(filter(None, (joiner.observed(seen(f"r{index}")) for index in range(2000))))

    def label() -> None:
        for index in range(2000):
            _, pair = joiner.labelled(Label("m", f"r{index}", "x"))
            if pair is not None:
                pairs.append(pair)

    threads = [threading.Thread(target=target) for target in (observe, label, observe, label)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pair.request_id for pair in pairs) == sorted(f"r{index}" for index in range(2000))


@pytest.mark.parametrize(
    ("predicted", "label", "right"),
    [("1", 1.0, True), ("1", "1", True), ("1", 2.0, False), ("true", "true", True), ("0.5", 0.5, True)],
)
def test_a_label_is_the_class_that_it_names_however_it_is_written(predicted, label, right):
    joiner = LabelJoiner(LabelsConfig())
    joiner.observed(seen("r1", predicted))
    _, pair = joiner.labelled(Label("m", "r1", label))
    assert pair.is_right is right


def test_the_same_class_written_otherwise_is_no_conflict():
    joiner = LabelJoiner(LabelsConfig())
    joiner.labelled(Label("m", "r1", "1"))
    assert joiner.labelled(Label("m", "r1", 1.0))[0] == "duplicate"
    assert joiner.labelled(Label("m", "r1", 1.5))[0] == "conflict"
