"""The ledger: the equation holds whatever happens, in whatever order, on however many threads."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import CollectorRegistry

from exporter.metrics.contract import DROP_REASONS, SOURCES
from exporter.metrics.instruments import Instruments, LedgerInstruments
from exporter.pipeline.ledger import Account, Balance, Ledger


def make() -> tuple[CollectorRegistry, Ledger]:
    registry = CollectorRegistry()
    return registry, Ledger(LedgerInstruments(Instruments(registry), "m"))


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
    registry, ledger = make()
    account = ledger.open()
    for _ in range(5):
        account.admitted("hook")
    account.unfolded("hook", 4)
    account.settled("processed", 3)
    account.settled("sampled_out")
    account.dropped("unreadable")
    ledger.refused("sidecar", "body_too_large")
    expected = Balance(
        observed=9, processed=3, dropped={"unreadable": 1, "body_too_large": 1}, sampled_out=1, queued=3
    )
    assert ledger.balance() == expected
    assert expected.balanced
    ledger.publish(queue_bytes=77)
    assert published(registry) == expected
    assert registry.get_sample_value("inference_exporter_queue_bytes", {"model": "m"}) == 77
    ledger.publish(queue_bytes=0)
    assert published(registry) == expected


def test_the_equation_can_fail():
    assert not Balance(observed=2, processed=1, dropped={}, sampled_out=0, queued=0).balanced


def test_a_thread_that_wakes_up_after_a_stop_changes_nothing():
    _, ledger = make()
    hung = ledger.open()
    hung.admitted("hook")
    hung.close()
    stopped = Balance(observed=1, processed=0, dropped={"stopped": 1}, sampled_out=0, queued=0)
    assert ledger.balance() == stopped
    hung.settled("processed")
    hung.dropped("failed")
    hung.unfolded("hook", 10)
    hung.close()
    assert ledger.balance() == stopped


def test_not_even_after_a_restart():
    _, ledger = make()
    hung = ledger.open()
    hung.admitted("hook")
    hung.close()
    fresh = ledger.open()
    fresh.admitted("hook")
    hung.settled("processed")
    assert ledger.balance() == Balance(
        observed=2, processed=0, dropped={"stopped": 1}, sampled_out=0, queued=1
    )
    fresh.settled("processed")
    assert ledger.balance().balanced


def test_what_comes_after_a_stop_is_dropped_as_such():
    _, ledger = make()
    account = ledger.open()
    account.close()
    account.admitted("hook")
    account.dropped("stopped")
    assert ledger.balance() == Balance(
        observed=1, processed=0, dropped={"stopped": 1}, sampled_out=0, queued=0
    )


def test_a_reason_outside_of_the_contract_cannot_stop_the_metrics():
    registry, ledger = make()
    account = ledger.open()
    account.admitted("hook")
    account.dropped("no such reason")
    ledger.publish(0)
    assert published(registry).dropped == {"failed": 1}


def test_a_child_process_begins_at_zero():
    registry, ledger = make()
    account = ledger.open()
    for _ in range(3):
        account.admitted("hook")
    account.settled("processed")
    ledger.publish(0)
    ledger.lock.acquire()  # held by a thread that did not come along
    ledger.after_fork()
    ledger.publish(0)
    assert published(registry) == Balance(observed=0, processed=0, dropped={}, sampled_out=0, queued=0)


def test_it_is_exact_under_many_threads():
    registry, ledger = make()
    account = ledger.open()
    wrong: list[Balance] = []
    done = threading.Event()

    def submit() -> None:
        for _ in range(500):
            account.admitted("hook")
            account.unfolded("hook", 3)
            account.settled("processed", 1)
            account.settled("sampled_out", 1)
            account.dropped("queue_full", 1)

    def scrape() -> None:
        while not done.is_set():
            ledger.publish(0)
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


class Outcomes(RuleBasedStateMachine):
    """Any order of movements, over stops and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.registry, self.ledger = make()
        self.accounts: list[Account] = [self.ledger.open()]
        self.waiting = [0]

    @rule(source=st.sampled_from(SOURCES))
    def admit(self, source: str) -> None:
        self.accounts[-1].admitted(source)  # type: ignore[arg-type]
        self.waiting[-1] += 1

    @rule(source=st.sampled_from(SOURCES), reason=st.sampled_from(DROP_REASONS))
    def refuse(self, source: str, reason: str) -> None:
        self.ledger.refused(source, reason)  # type: ignore[arg-type]

    @rule(n=st.integers(1, 5))
    def unfold(self, n: int) -> None:
        if self.waiting[-1]:
            self.accounts[-1].unfolded("hook", n)
            self.waiting[-1] += n - 1

    @rule(data=st.data(), outcome=st.sampled_from(["processed", "sampled_out", "failed"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        which = data.draw(st.integers(0, len(self.accounts) - 1))
        n = data.draw(st.integers(0, self.waiting[which]))
        if outcome == "failed":
            self.accounts[which].dropped(outcome, n)
        else:
            self.accounts[which].settled(outcome, n)  # type: ignore[arg-type]
        if which == len(self.accounts) - 1:
            self.waiting[which] -= n

    @rule()
    def restart(self) -> None:
        self.accounts[-1].close()
        self.accounts.append(self.ledger.open())
        self.waiting.append(0)

    @invariant()
    def balanced(self) -> None:
        balance = self.ledger.balance()
        assert balance.balanced
        assert balance.queued == self.waiting[-1]
        self.ledger.publish(0)
        assert published(self.registry).balanced


TestBooks = Outcomes.TestCase
TestBooks.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_a_batch_of_n_counts_as_n(n: int):
    _, ledger = make()
    account = ledger.open()
    account.admitted("ingest")
    account.unfolded("ingest", n)
    account.settled("processed", n)
    assert ledger.balance() == Balance(observed=n, processed=n, dropped={}, sampled_out=0, queued=0)


@given(st.lists(st.sampled_from(DROP_REASONS), max_size=20))
def test_drops_are_counted_by_reason(reasons: list[str]):
    _, ledger = make()
    for reason in reasons:
        ledger.refused("hook", reason)
    assert ledger.balance().dropped == {reason: reasons.count(reason) for reason in set(reasons)}
