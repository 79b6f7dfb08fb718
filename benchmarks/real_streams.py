"""Streams made of real data, or of a service's habits, in their order and with the times of their rows.

Five rows a second at most, the default sampling rate. Every stream goes on for ever, never repeats itself and
is without drift until ``drift`` is set: a name out of its ``DRIFTS``.
"""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

RATE, DAY = 5.0, 86_400.0
Rows = NDArray[np.float32]


class Source(Protocol):
    """``take(n)`` gives the next (n, d) rows and their (n,) times in seconds; ``clock`` is now."""

    DRIFTS: ClassVar[tuple[str, ...]]
    clock: float
    drift: str
    rng: np.random.Generator

    def take(self, n: int) -> tuple[Rows, NDArray[np.float64]]: ...


@cache
def digits() -> Rows:
    """(1797, 8, 8), the handwritten digits of scikit-learn, 0 to 1."""
    from sklearn.datasets import load_digits

    return (load_digits().images / 16.0).astype(np.float32)


@cache
def photographs() -> Rows:
    """(2, 106, 160), the two photographs of scikit-learn in grey, 0 to 1, a quarter of their size."""
    from sklearn.datasets import load_sample_images

    grey = [image.mean(axis=2)[:424, :640] / 255.0 for image in load_sample_images().images]
    return np.stack([g.reshape(106, 4, 160, 4).mean(axis=(1, 3)) for g in grey]).astype(np.float32)


@cache
def diabetes() -> Rows:
    """(442, 10), the patients of scikit-learn's diabetes data by age, each column of variance 1."""
    from sklearn.datasets import load_diabetes

    rows = load_diabetes().data
    rows = rows[np.lexsort((rows[:, 9], rows[:, 0]))]  # by age, and by blood sugar within a year
    return ((rows - rows.mean(axis=0)) / rows.std(axis=0)).astype(np.float32)


class Video:
    """Scenes of some frames, then a cut: an image that moves and turns steadily, seen with a noisy sensor.

    A frame is the 8 x 8 brightnesses under a grid; 64 dimensions.
    """

    DRIFTS = ("a third darker", "turned by 45 degrees", "half of it covered")

    def __init__(self, images: Rows, seed: int, *, frames: float, roam: bool) -> None:
        self.rng = np.random.default_rng([seed, 101])
        self.clock, self.drift = 0.0, ""
        self._images, self._frames, self._roam = images, frames, roam
        self._scene, self._age = self._scenes(1), 0

    def _scenes(self, n: int) -> NDArray[np.float64]:
        """(n, 8): image, place, angle and scale of each scene, and the speeds of three of them."""
        _, height, width = self._images.shape
        margin = np.array([height, width]) / 2.0
        middle = margin - 0.5
        reach = np.maximum(margin - 8.0, 0.0) if self._roam else np.zeros(2)
        place = middle + self.rng.uniform(-1, 1, (n, 2)) * reach + 0.4 * self.rng.standard_normal((n, 2))
        angle, scale = 0.15 * self.rng.standard_normal(n), np.exp(0.08 * self.rng.standard_normal(n))
        speed = self.rng.standard_normal((n, 3)) * ((0.3, 0.3, 0.02) if self._roam else (0.06, 0.06, 0.02))
        image = self.rng.integers(len(self._images), size=n)
        return np.column_stack([image, place, angle, scale, speed])

    def take(self, n: int) -> tuple[Rows, NDArray[np.float64]]:
        cut = self.rng.random(n) < 1.0 / self._frames
        number = np.cumsum(cut)
        scenes = np.concatenate([self._scene, self._scenes(int(number[-1]))])
        places = np.arange(n)
        begun = np.maximum.accumulate(np.where(cut, places, -1))
        age = np.where(begun >= 0, places - begun, places + self._age + 1)
        self._scene, self._age = scenes[-1:], int(age[-1])
        scene = scenes[number]
        angle = scene[:, 3] + scene[:, 7] * age + (np.pi / 4 if self.drift == self.DRIFTS[1] else 0.0)
        centre = scene[:, 1:3] + scene[:, 5:7] * age[:, None]
        rows = _look(self._images, scene[:, 0].astype(np.intp), centre, angle, scene[:, 4])
        if self.drift == self.DRIFTS[0]:
            rows *= np.float32(2 / 3)
        if self.drift == self.DRIFTS[2]:
            rows[:, 32:] = 0.5
        rows += np.float32(0.03) * self.rng.standard_normal(rows.shape, dtype=np.float32)
        times = self.clock + (1 + places) / RATE
        self.clock = float(times[-1])
        return rows, times


def _look(
    images: Rows,
    image: NDArray[np.intp],
    centre: NDArray[np.float64],
    angle: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> Rows:
    """(n, 64) brightnesses under a turned grid about (n, 2) places, between pixels; the edge goes on."""
    steps = np.arange(8) - 3.5
    down, right = (g.reshape(-1) for g in np.meshgrid(steps, steps, indexing="ij"))
    cos, sin = (scale * np.cos(angle))[:, None], (scale * np.sin(angle))[:, None]
    _, height, width = images.shape
    y = np.clip(centre[:, :1] + cos * down - sin * right, 0.0, height - 1.001)
    x = np.clip(centre[:, 1:] + sin * down + cos * right, 0.0, width - 1.001)
    top, left = y.astype(np.intp), x.astype(np.intp)
    dy, dx = (y - top).astype(np.float32), (x - left).astype(np.float32)
    flat, at = images.reshape(-1), image[:, None] * (height * width) + top * width + left
    upper = flat[at] * (1 - dx) + flat[at + 1] * dx
    lower = flat[at + width] * (1 - dx) + flat[at + width + 1] * dx
    return upper * (1 - dy) + lower * dy


class Patients:
    """Each day begins with the youngest and ends with the oldest, give or take twenty places.

    442 patients are few for a week, so each row has noise of a quarter of a standard deviation.
    """

    DRIFTS = ("blood pressure + 1 sigma", "all columns + 0.5 sigma", "only half of the ages come")

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 102])
        self.clock, self.drift = 0.0, ""

    def take(self, n: int) -> tuple[Rows, NDArray[np.float64]]:
        known = diabetes()
        times = self.clock + (1 + np.arange(n)) / RATE
        self.clock = float(times[-1])
        place = times / DAY % 1.0 * len(known)
        if self.drift == self.DRIFTS[2]:
            place = place / 2.0
        place = np.abs(place + 20.0 * self.rng.standard_normal(n))
        last = len(known) - 1
        place = np.where(place > last, 2 * last - place, place).astype(np.intp)
        rows = known[place] + np.float32(0.25) * self.rng.standard_normal((n, 10), dtype=np.float32)
        if self.drift == self.DRIFTS[0]:
            rows[:, 3] += 1.0
        if self.drift == self.DRIFTS[1]:
            rows += np.float32(0.5)
        return rows, times


class Requests:
    """The log of a service: 300 users who come back, some often, with a taste of their own each.

    Eight sessions at a time, of eight requests on average, about one topic each. Half of the users come by
    day, half by night, mostly; traffic falls from five requests a second and more, of which five are
    sampled, to one in the small hours. One request in twenty repeats one of the twenty before it.
    16 features, of which four are skewed, as sizes and durations are.
    """

    DRIFTS = ("a client sends four features + 0.5 sigma", "a fifth of the sessions are of new users", "bots")
    _SESSIONS, _LENGTH, _USERS, _D = 8, 8.0, 300, 16

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 103])
        self.clock, self.drift = 0.0, ""
        fixed = np.random.default_rng(12)
        night = np.arange(self._USERS) % 2 == 1
        self._tastes = fixed.standard_normal((self._USERS, self._D))
        self._tastes[night] += 0.7 * fixed.standard_normal(self._D)
        self._new = fixed.standard_normal(self._D)
        weight = 1.0 / (1.0 + np.arange(self._USERS)) ** 0.7
        self._often = [np.where(night == late, weight, 0.0) / weight[night == late].sum() for late in (0, 1)]
        self._topics = self._begun(self._SESSIONS)

    def _begun(self, n: int) -> NDArray[np.float64]:
        """(n, d) topics of sessions that begin now."""
        late = self.rng.random(n) < 0.5 + 0.4 * np.cos(2.0 * np.pi * self.clock / DAY)
        users = np.where(
            late,
            self.rng.choice(self._USERS, n, p=self._often[1]),
            self.rng.choice(self._USERS, n, p=self._often[0]),
        )
        taste = self._tastes[users]
        if self.drift == self.DRIFTS[1]:
            taste[self.rng.random(n) < 0.2] = 2.0 * self._new
        return taste + 0.6 * self.rng.standard_normal((n, self._D))

    def take(self, n: int) -> tuple[Rows, NDArray[np.float64]]:
        rate = np.clip(4.0 - 4.5 * np.cos(2.0 * np.pi * self.clock / DAY), 1.0, RATE)
        times = self.clock + np.cumsum(0.5 / rate + self.rng.exponential(0.5 / rate, n))
        slots = self.rng.integers(self._SESSIONS, size=n)
        rows = np.empty((n, self._D))
        for slot in range(self._SESSIONS):
            mine = np.flatnonzero(slots == slot)
            session = np.cumsum(self.rng.random(mine.size) < 1.0 / self._LENGTH)
            begun = self._begun(int(session[-1]) if mine.size else 0)
            topics = np.concatenate([self._topics[slot : slot + 1], begun])
            rows[mine] = topics[session]
            self._topics[slot] = topics[-1]
        self.clock = float(times[-1])
        rows += 0.5 * self.rng.standard_normal((n, self._D))
        if self.drift == self.DRIFTS[0]:
            rows[:, 4:8] += 0.6
        if self.drift == self.DRIFTS[2]:
            rows[self.rng.random(n) < 0.2] *= 0.1
        rows[:, 12:] = np.exp(0.5 * rows[:, 12:])
        again = np.flatnonzero(self.rng.random(n) < 0.05)
        again = again[again >= 20]
        rows[again] = rows[again - self.rng.integers(1, 21, again.size)]
        return rows.astype(np.float32), times
