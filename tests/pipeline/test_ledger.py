"""The ledger: the equation holds whatever happens, in whatever order, on however many threads."""

from __future__ import annotations

import threading
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import CollectorRegistry

from exporter.config import Config
from exporter.metrics.contract import DROP_REASONS, SOURCES
from exporter.metrics.instruments import Instruments
from exporter.pipeline.ledger import Balance, Ledger, Tally
from exporter.pipeline.monitor import Monitor
from exporter.pipeline.queue import Batch


class Nothing:
    """A handler that is never asked."""

    def handle(self, tally: Tally, batch: Batch) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def after_fork(self) -> None: ...


def make() -> tuple[CollectorRegistry, Ledger, Monitor]:
    registry = CollectorRegistry()
    monitor = Monitor(Config(model="m"), Instruments(registry), Nothing())
    return registry, monitor.ledger, monitor


def wait(ledger: Ledger, source: str, n: int = 1) -> None:
    """``n`` more observations are queued."""
    with ledger.lock:
        ledger.observed[source] += n
        ledger.queued += n


def settle(ledger: Ledger, n: int, said: Tally) -> None:
    with ledger.lock:
        ledger.settle(n, said)


def tally(found: int = 0, **ended: int) -> Tally:
    return Tally(found=Counter(hook=found), ended=Counter(ended))


def published(registry: CollectorRegistry) -> Balance:
    """The ledger as one scrape shows it."""
    values: dict[str, dict[str, int]] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            label = sample.labels.get("reason") or sample.labels.get("source") or ""
            values.setdefault(sample.name.removeprefix("inference_exporter_"), {})[label] = int(sample.value)
    return Balance(
        observed=sum(values["observations_total"].values()),
        processed=values["processed_total"][""],
        dropped={reason: n for reason, n in values["dropped_total"].items() if n},
        sampled_out=values["sampled_out_total"][""],
        queued=values["queued"][""],
    )


def test_every_movement_shows_in_the_metrics():
    registry, ledger, monitor = make()
    wait(ledger, "hook", 5)
    settle(ledger, 2, tally(3, processed=3, sampled_out=1, unreadable=1))
    ledger.refused("sidecar", "body_too_large")
    expected = Balance(
        observed=9, processed=3, dropped={"unreadable": 1, "body_too_large": 1}, sampled_out=1, queued=3
    )
    assert ledger.balance() == expected
    assert expected.balanced
    monitor.worker._queue.append(b"x" * 77)
    assert published(registry) == expected
    assert registry.get_sample_value("inference_exporter_queue_bytes", {"model": "m", "version": ""}) == 77
    assert published(registry) == expected


def test_the_equation_can_fail():
    assert not Balance(observed=2, processed=1, dropped={}, sampled_out=0, queued=0).balanced


def test_a_reason_outside_of_the_contract_cannot_stop_the_metrics():
    registry, ledger, _ = make()
    ledger.refused("hook", "no such reason")
    assert published(registry).dropped == {"failed": 1}


def test_a_child_process_begins_at_zero():
    registry, ledger, monitor = make()
    wait(ledger, "hook", 3)
    settle(ledger, 1, tally(processed=1))
    monitor.publish()
    ledger.lock.acquire()  # held by a thread that did not come along
    monitor.after_fork()
    assert published(registry) == Balance(observed=0, processed=0, dropped={}, sampled_out=0, queued=0)


def test_it_is_exact_under_many_threads():
    registry, ledger, _ = make()
    wrong: list[Balance] = []
    done = threading.Event()

    def submit() -> None:
        for _ in range(500):
            wait(ledger, "hook")
            settle(ledger, 1, tally(2, processed=1, sampled_out=1, queue_full=1))

    def scrape() -> None:
        while not done.is_set():
            balance = published(registry)
            if not ledger.balance().balanced or not balance.balanced:
                wrong.append(balance)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    scraping = threading.Thread(target=scrape)
    for thread in (*threads, scraping):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    scraping.join()
    assert not wrong
    assert ledger.balance() == Balance(
        observed=6000, processed=2000, dropped={"queue_full": 2000}, sampled_out=2000, queued=0
    )


TALLIES = st.dictionaries(
    st.sampled_from(["processed", "sampled_out", "failed", "unreadable", "no such reason"]), st.integers(0, 9)
)


class Movements(RuleBasedStateMachine):
    """Any order of movements."""

    def __init__(self) -> None:
        super().__init__()
        self.registry, self.ledger, _ = make()
        self.waiting = 0

    @rule(source=st.sampled_from(SOURCES))
    def admit(self, source: str) -> None:
        wait(self.ledger, source)
        self.waiting += 1

    @rule(source=st.sampled_from(SOURCES), reason=st.sampled_from(DROP_REASONS))
    def refuse(self, source: str, reason: str) -> None:
        self.ledger.refused(source, reason)

    @rule(data=st.data(), found=st.integers(0, 5), ended=TALLIES)
    def settle(self, data: st.DataObject, found: int, ended: dict[str, int]) -> None:
        """Whatever the tally says, be it less or more than there was."""
        n = data.draw(st.integers(0, self.waiting))
        settle(self.ledger, n, tally(found, **ended))
        self.waiting -= n

    @invariant()
    def balanced(self) -> None:
        balance = self.ledger.balance()
        assert balance.balanced
        assert balance.queued == self.waiting
        assert (
            min(balance.observed, balance.processed, balance.sampled_out, *balance.dropped.values(), 0) == 0
        )
        assert published(self.registry).balanced


TestMovements = Movements.TestCase
TestMovements.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_what_a_tally_does_not_speak_of_has_failed():
    _, ledger, _ = make()
    wait(ledger, "hook", 4)
    settle(ledger, 4, tally(2, processed=1, sampled_out=1))
    assert ledger.balance() == Balance(
        observed=6, processed=1, dropped={"failed": 4}, sampled_out=1, queued=0
    )


def test_a_tally_that_says_too_much_makes_nothing_negative():
    registry, ledger, _ = make()
    wait(ledger, "hook", 100)
    settle(ledger, 100, tally(sampled_out=198, processed=-98))
    balance = Balance(observed=100, processed=0, dropped={}, sampled_out=100, queued=0)
    assert ledger.balance() == balance
    assert published(registry) == balance


@given(st.lists(st.sampled_from(DROP_REASONS), max_size=20))
def test_drops_are_counted_by_reason(reasons: list[str]):
    _, ledger, _ = make()
    for reason in reasons:
        ledger.refused("hook", reason)
    assert ledger.balance().dropped == {reason: reasons.count(reason) for reason in set(reasons)}
