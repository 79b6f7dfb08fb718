"""Requests for the digits service: ``python -m examples.digits.traffic --phase drifted --shape ramp``.

The pictures come from images that neither the training nor the reference has used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.digits.images import Picture, Split, draw, load_splits, to_base64_png
from examples.traffic import run_command

Change = Callable[[Picture, np.random.Generator], Picture]

BAD_PAYLOADS: tuple[dict[str, str], ...] = (
    {},  # answered with 422
    {"image": "bad data"},  # answered with 400: not base64
    {"image": "bm90IGEgcGljdHVyZQ=="},  # answered with 400: base64, but not a picture
)


def rotated(picture: Picture, rng: np.random.Generator) -> Picture:
    """Turn by 40 to 90 degrees, either way: a camera mounted wrongly."""
    angle = rng.uniform(40.0, 90.0) * rng.choice((-1.0, 1.0))
    return _changed(picture, lambda f, tensor: f.rotate(tensor, float(angle)))


def blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blur with a standard deviation of 5 to 7 pixels: a lens out of focus."""
    sigma = float(rng.uniform(5.0, 7.0))
    return _changed(picture, lambda f, tensor: f.gaussian_blur(tensor, [21, 21], [sigma, sigma]))


def inverted(picture: Picture, rng: np.random.Generator) -> Picture:  # noqa: ARG001
    """Swap ink and paper: a new scanner that writes black on white."""
    return _changed(picture, lambda f, tensor: f.invert(tensor))


def noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add noise with a standard deviation of the full scale: a failing sensor."""
    import torch

    def change(f: Any, tensor: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            noise = f.gaussian_noise(tensor.float() / 255.0, sigma=1.0)
        return (noise * 255.0).round().to(torch.uint8)

    return _changed(picture, change)


CHANGES: dict[str, Change] = {
    "rotated": rotated,
    "blurred": blurred,
    "inverted": inverted,
    "noisy": noisy,
}
BLOCK = 120  # pictures before the drifted phase goes on to the next kind of change
PHASES = ("clean", "low-confidence", "drifted", *CHANGES, "errors")


def pictures(phase: str, seed: int = 0) -> Iterator[tuple[Picture, int]]:
    """Yield pictures of a phase without end, each with the digit that it shows.

    Parameters
    ----------
    phase
        ``clean``, ``low-confidence`` (two digits over each other, in faint ink), one of the four
        changes ``rotated``, ``blurred``, ``inverted`` and ``noisy``, or ``drifted``: the four in turn,
        ``BLOCK`` pictures each.
    """
    if phase not in PHASES or phase == "errors":
        raise ValueError(f"phase {phase!r} has no pictures; choose one of {', '.join(PHASES[:-1])}")
    rng = np.random.default_rng((seed, PHASES.index(phase)))
    split = load_splits().traffic
    kinds = list(CHANGES) if phase == "drifted" else [phase]
    for number in count():
        index = int(rng.integers(len(split)))
        if phase == "low-confidence":
            picture = draw(_blend(split, index, rng), rng)
        else:
            picture = draw(split.images[index], rng)
        if phase not in ("clean", "low-confidence"):
            picture = CHANGES[kinds[number // BLOCK % len(kinds)]](picture, rng)
        yield picture, int(split.labels[index])


def payloads(phase: str, seed: int = 0) -> Iterator[dict[str, str]]:
    """Yield bodies for ``POST /predict`` without end; ``errors`` gives ones that must be refused."""
    if phase == "errors":
        rng = np.random.default_rng((seed, PHASES.index(phase)))
        while True:
            yield BAD_PAYLOADS[int(rng.integers(len(BAD_PAYLOADS)))]
    for picture, _ in pictures(phase, seed):
        yield {"image": to_base64_png(picture)}


def _blend(split: Split, index: int, rng: np.random.Generator) -> NDArray[np.float64]:
    others = np.flatnonzero(split.labels != split.labels[index])
    other = split.images[int(rng.choice(others))]
    share = rng.uniform(0.4, 0.6)
    blended: NDArray[np.float64] = 0.6 * (share * split.images[index] + (1.0 - share) * other)
    return blended


def _changed(picture: Picture, change: Callable[[Any, Any], Any]) -> Picture:
    import torch

    tensor = change(_functional(), torch.from_numpy(picture)[None])
    return np.ascontiguousarray(tensor[0].numpy())


@cache
def _functional() -> Any:
    """torchvision's functional transforms, imported by the phases that need them."""
    from exporter.embedders.torchvision_ops import import_torchvision

    import_torchvision()
    from torchvision.transforms.v2 import functional

    return functional


if __name__ == "__main__":
    run_command("Send traffic to the digits example.", PHASES, payloads, "/predict")
