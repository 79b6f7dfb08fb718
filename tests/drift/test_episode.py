"""Episodes: one onset, and an end after a whole quiet window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.drift.window_metrics import Episode


def test_an_episode_ends_after_a_whole_window_below_the_threshold():
    episode = Episode(window=3)
    verdicts = [False, True, True, False, False, True, False, False, False, False, True]
    onsets, active = [], []
    for verdict in verdicts:
        onsets.append(episode.step(verdict))
        active.append(episode.active)
    assert [n for n, onset in enumerate(onsets) if onset] == [1, 10]
    assert [n for n, on in enumerate(active) if on] == [1, 2, 3, 4, 5, 6, 7, 10]


@given(st.integers(2, 6), st.lists(st.booleans(), max_size=80))
def test_onsets_are_the_alarms_with_no_alarm_in_the_window_before(window: int, verdicts: list[bool]):
    episode = Episode(window)
    onsets = [n for n, verdict in enumerate(verdicts) if episode.step(verdict)]
    assert onsets == [
        n for n, verdict in enumerate(verdicts) if verdict and not any(verdicts[max(0, n - window) : n])
    ]
    assert episode.active == any(verdicts[-window:])
