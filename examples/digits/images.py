"""The pictures: scikit-learn's real 8 x 8 digits, split, varied, and turned into PNG and back."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from sklearn.datasets import load_digits

SIDE = 8  # of the model's input, in pixels
CELL = 4  # pixels of a picture for one pixel of the input
PICTURE_SIDE = SIDE * CELL
MAX_PIXELS = 1024 * 1024

Picture = NDArray[np.uint8]


class UnreadableImage(ValueError):
    """Text that is not the base64 form of a picture."""


@dataclass(frozen=True, slots=True)
class Split:
    """Digits as scikit-learn has them: ``images`` (n, 8, 8) float64 from 0 to 16, ``labels`` (n,) int64."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Splits:
    """Three parts that share no image.

    The reference must not be what the model was trained on: a network is surer of its training
    images than of any others, and against those every honest request would look like drift.
    """

    train: Split
    reference: Split
    traffic: Split


def load_splits(*, train: int = 599) -> Splits:
    """Cut the 1,797 digits into three, always in the same way.

    scikit-learn lists them writer by writer, so they are shuffled first. Reference and traffic are
    small samples of the same handwriting: to let them differ by as little as samples can, those
    outside the training part are paired, each with the most similar image of the same digit still
    free, and a pair gives one image to each part.
    """
    digits = load_digits()
    rng = np.random.default_rng(20_240_901)
    order = rng.permutation(len(digits.target))
    reference, traffic = _paired(digits.data, digits.target, order[train:], rng)

    def part(chosen: NDArray[np.int64]) -> Split:
        return Split(digits.images[chosen].astype(np.float64), digits.target[chosen].astype(np.int64))

    return Splits(train=part(order[:train]), reference=part(reference), traffic=part(traffic))


def _paired(
    pixels: NDArray[np.float64],
    labels: NDArray[np.int64],
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal the chosen images out to two halves, pair by pair; an odd one out goes to the first."""
    halves: tuple[list[int], list[int]] = ([], [])
    for label in np.unique(labels[chosen]):
        free = chosen[labels[chosen] == label]
        while len(free):
            first, free = free[0], free[1:]
            pair = [int(first)]
            if len(free):
                nearest = int(np.argmin(((pixels[free] - pixels[first]) ** 2).sum(axis=1)))
                pair.append(int(free[nearest]))
                free = np.delete(free, nearest)
                rng.shuffle(pair)
            for half, index in zip(halves, pair, strict=False):
                half.append(index)
    return np.asarray(halves[0]), np.asarray(halves[1])


def draw(image: NDArray[np.float64], rng: np.random.Generator) -> Picture:
    """Draw a digit as a picture, a little differently each time.

    Shifted by up to a quarter of an original pixel, with faint noise: enough to make thousands of
    different requests out of some hundred images, too little to make another digit.

    Parameters
    ----------
    image
        (8, 8) float, 0 to 16.

    Returns
    -------
    Picture
        (32, 32) uint8, white ink on black.
    """
    large = np.kron(image * (255.0 / 16.0), np.ones((CELL, CELL)))
    dy, dx = rng.integers(-1, 2, size=2)
    padded = np.pad(large, CELL)
    shifted = padded[CELL - dy : CELL - dy + PICTURE_SIDE, CELL - dx : CELL - dx + PICTURE_SIDE]
    noisy = shifted + rng.normal(0.0, 4.0, shifted.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def to_base64_png(picture: Picture) -> str:
    """Encode a picture as the service takes it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_base64(text: str) -> Picture:
    """Decode the picture in a request, of any size and mode that Pillow reads, to grey (h, w) uint8.

    Raises
    ------
    UnreadableImage
        If it is not base64, not a picture, cut short, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableImage("image is not base64; send a PNG or JPEG file in base64") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height > MAX_PIXELS:
            raise UnreadableImage(
                f"image has {picture.width} x {picture.height} pixels; at most {MAX_PIXELS} are taken"
            )
        return np.asarray(picture.convert("L"), dtype=np.uint8)
    except UnidentifiedImageError:
        raise UnreadableImage("image is base64, but not a picture; send a PNG or JPEG file") from None
    except UnreadableImage:
        raise
    # Pillow's decoders raise these, and more, for files that are cut short or forged.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"image is broken: {error}") from None


def to_input(picture: Picture) -> NDArray[np.float32]:
    """Shrink a picture to the model's input: (1, 8, 8) float32, 0 to 1, by the mean of each cell."""
    if picture.shape == (PICTURE_SIDE, PICTURE_SIDE):
        cells = picture.reshape(SIDE, CELL, SIDE, CELL).mean(axis=(1, 3))
    else:
        small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX)
        cells = np.asarray(small, dtype=np.float64)
    scaled: NDArray[np.float32] = (cells / 255.0).astype(np.float32)[None]
    return scaled
