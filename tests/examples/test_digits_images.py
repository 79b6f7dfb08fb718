from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from examples.digits.images import (
    MAX_PIXELS,
    UnreadableImage,
    draw,
    from_base64,
    load_splits,
    to_base64_png,
    to_input,
)


def _encoded(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return base64.b64encode(buffer.getvalue()).decode()


def test_the_three_parts_share_no_image_and_lose_none() -> None:
    splits = load_splits()
    parts = (splits.train, splits.reference, splits.traffic)
    assert sum(len(part) for part in parts) == 1797
    rows = {image.tobytes() for part in parts for image in part.images}
    assert len(rows) == 1797  # no two of scikit-learn's digits are equal, so none is in two parts


def test_reference_and_traffic_show_every_digit_equally_often() -> None:
    splits = load_splits()
    reference = np.bincount(splits.reference.labels, minlength=10)
    traffic = np.bincount(splits.traffic.labels, minlength=10)
    assert np.abs(reference - traffic).max() <= 1


def test_the_split_is_always_the_same() -> None:
    np.testing.assert_array_equal(load_splits().traffic.images, load_splits().traffic.images)


def test_a_drawn_digit_is_close_to_the_original_and_never_twice_the_same() -> None:
    image = load_splits().train.images[0]
    rng = np.random.default_rng(0)
    first, second = draw(image, rng), draw(image, rng)
    assert first.shape == (32, 32)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    assert np.corrcoef(to_input(first).ravel(), image.ravel())[0, 1] > 0.9


def test_png_there_and_back() -> None:
    picture = draw(load_splits().train.images[3], np.random.default_rng(1))
    np.testing.assert_array_equal(from_base64(to_base64_png(picture)), picture)


def test_other_sizes_and_modes_are_taken() -> None:
    colour = Image.new("RGBA", (100, 60), (255, 255, 255, 255))
    for kind in ("PNG", "GIF"):
        pixels = to_input(from_base64(_encoded(colour, kind)))
        assert pixels.shape == (1, 8, 8)
        assert pixels.dtype == np.float32
        assert pixels.min() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bad data", "not base64"),
        ("ünïcode", "not base64"),
        ("abc", "not base64"),
        ("bm90IGEgcGljdHVyZQ==", "not a picture"),
        ("", "not a picture"),
    ],
)
def test_text_that_is_no_picture_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        from_base64(text)


def test_a_picture_cut_short_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = base64.b64decode(_encoded(Image.fromarray(noise)))
    with pytest.raises(UnreadableImage, match="broken"):
        from_base64(base64.b64encode(whole[: len(whole) // 2]).decode())


@pytest.mark.parametrize(("side", "reason"), [(1_025, str(MAX_PIXELS)), (14_000, "bomb")])
def test_a_small_file_that_says_it_has_too_many_pixels_is_refused(side: int, reason: str) -> None:
    honest = base64.b64decode(_encoded(Image.new("1", (1, 1))))
    start = honest.index(b"IHDR")
    header = b"IHDR" + struct.pack(">II", side, side) + honest[start + 12 : start + 17]
    forged = honest[:start] + header + struct.pack(">I", zlib.crc32(header)) + honest[start + 21 :]
    with pytest.raises(UnreadableImage, match=reason):
        from_base64(base64.b64encode(forged).decode())
