"""The rules by which processes are started again: pauses that grow and shrink, hope, and signs of life."""

from __future__ import annotations

import pytest

from exporter.processes.supervisor import Rules, Supervisor

RULES = Rules(
    first_pause_seconds=0.5,
    longest_pause_seconds=8.0,
    start_seconds=20.0,
    hung_seconds=5.0,
)


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.supervisor = Supervisor(RULES, clock=lambda: self.now)

    def life(self, seconds: float | None) -> float:
        """A process that is ready for so long, or never, and ends; gives the pause that follows."""
        self.supervisor.started()
        if seconds is not None:
            self.supervisor.ready()
            self.now += seconds
        self.supervisor.ended()
        return self.supervisor.pause_seconds


def test_the_first_start_waits_for_nothing() -> None:
    assert Bench().supervisor.pause_seconds == 0.0


def test_the_pause_doubles_up_to_its_bound() -> None:
    bench = Bench()
    assert [bench.life(1.0) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_after_one_that_was_well_it_is_the_first_again() -> None:
    bench = Bench()
    assert [bench.life(1.0) for _ in range(3)][-1] == 2.0
    assert bench.life(20.0) == 0.5  # ten times the pause


@pytest.mark.parametrize(("lived", "pause"), [(39.0, 8.0), (40.0, 0.5)])
def test_how_long_it_must_have_been_well_follows_the_pause(lived: float, pause: float) -> None:
    bench = Bench()
    assert [bench.life(1.0) for _ in range(4)][-1] == 4.0
    assert bench.life(lived) == pause


def test_a_minute_is_always_enough() -> None:
    bench = Bench()
    assert [bench.life(1.0) for _ in range(9)][-1] == 8.0
    assert bench.life(60.0) == 0.5


def test_time_before_it_was_ready_does_not_make_it_well() -> None:
    bench = Bench()
    bench.life(1.0)
    bench.supervisor.started()
    bench.now += 1000.0
    bench.supervisor.ended()
    assert bench.supervisor.pause_seconds == 1.0


def test_hope_ends_with_starts_that_never_got_ready_and_comes_back_with_one_that_did() -> None:
    bench = Bench()
    bench.life(None)
    bench.life(None)
    assert not bench.supervisor.hopeless
    bench.life(0.0)
    bench.life(None)
    bench.life(None)
    assert not bench.supervisor.hopeless
    bench.life(None)
    assert bench.supervisor.hopeless


def test_a_sign_of_life_is_overdue_after_the_time_allowed() -> None:
    bench = Bench()
    bench.supervisor.started()
    bench.now += 20.0
    assert not bench.supervisor.hung
    bench.now += 0.1
    assert bench.supervisor.hung
    bench.supervisor.ready()
    bench.now += 5.0
    assert not bench.supervisor.hung
    bench.supervisor.alive()
    bench.now += 5.1
    assert bench.supervisor.hung
