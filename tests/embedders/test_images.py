from __future__ import annotations

import base64
import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exporter.config import ImageConfig
from exporter.embedders.images import image_finder, prepare
from exporter.errors import PayloadError
from tests.decoders.conftest import exchange

PLAIN = ImageConfig(resize=8, crop=8, mean=(0.0,), std=(1.0,))


def png(width=8, height=8, color=(255, 0, 51), mode="RGB", kind="PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), color).save(file, kind)
    return file.getvalue()


def headers(content_type: bytes):
    return ((b"content-type", content_type),)


def multipart(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(b"--XX\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return b"preamble\r\n" + body + b"--XX--\r\nepilogue"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_picture_is_scaled_and_normalised(kind):
    config = ImageConfig(resize=10, crop=8, mean=(0.5,), std=(0.5,))
    array = prepare(png(20, 40, kind=kind), config)
    assert array.shape == (3, 8, 8)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array.mean(axis=(1, 2)), [1.0, -1.0, -0.6], atol=0.02)


def test_the_middle_is_cut_out():
    picture = Image.new("L", (16, 8), 0)
    picture.paste(255, (4, 0, 12, 8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    config = ImageConfig(resize=8, crop=8, channels=1, mean=(0.0,), std=(1.0,), layout="nhwc")
    array = prepare(file.getvalue(), config)
    assert array.shape == (8, 8, 1)
    assert (array == 1.0).all()


def test_small_pictures_and_strips_are_enlarged_within_bounds():
    assert prepare(png(2, 3), ImageConfig(resize=None, crop=8)).shape == (3, 8, 8)
    assert prepare(png(3000, 1), ImageConfig()).shape == (3, 224, 224)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked():
    with pytest.raises(PayloadError, match="300 x 200 pixels") as caught:
        prepare(png(300, 200), ImageConfig(max_pixels=50_000))
    assert caught.value.reason == "body_too_large"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", png()[:40], b"\x89PNG\r\n\x1a\n" + b"\xff" * 40])
def test_what_is_no_picture_is_unreadable(data):
    with pytest.raises(PayloadError) as caught:
        prepare(data, PLAIN)
    assert caught.value.reason == "unreadable"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_picture_is_read_or_unreadable(data):
    body = bytearray(png(kind=data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]))))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PayloadError):
        assert prepare(bytes(body), PLAIN).shape == (3, 8, 8)


TEXT = base64.b64encode(b"one").decode()


@pytest.mark.parametrize(
    ("source", "content_type", "body", "expected"),
    [
        ("body", b"image/png", b"raw", [b"raw"]),
        ("auto", b"image/png", b"raw", [b"raw"]),
        ("auto", b"application/octet-stream", b"\x89raw", [b"\x89raw"]),
        ("auto", b"application/json", {"image": TEXT}, [b"one"]),
        ("auto", b"application/json", {"image": f"data:image/png;base64,{TEXT}"}, [b"one"]),
        ("auto", b"application/json", {"instances": [{"b64": TEXT}, {"image": TEXT}]}, [b"one", b"one"]),
        ("auto", b"application/json", {"instances": [[1.0, 2.0]]}, []),
        ("auto", b"application/json", {"text": "hello"}, []),
        ("auto", b"application/json", b"", []),
        ("request.x[0].pic", b"application/json", {"x": [{"pic": TEXT}]}, [b"one"]),
        ("x", b"application/json", {"x": [TEXT, TEXT]}, [b"one", b"one"]),
        (
            "auto",
            b'multipart/form-data; boundary="XX"',
            multipart(
                (b'Content-Disposition: form-data; name="note"', b"hi"),
                (b'Content-Disposition: form-data; name="f"; filename="a.png"', b"one\r\n--two"),
                (b"Content-Type: image/png", b"three"),
            ),
            [b"one\r\n--two", b"three"],
        ),
        (
            "multipart:f",
            b"multipart/form-data; boundary=XX",
            multipart(
                (b'Content-Disposition: form-data; name="g"; filename="b"', b"no"),
                (b'Content-Disposition: form-data; name="f"', b"yes"),
            ),
            [b"yes"],
        ),
    ],
)
def test_where_images_are(source, content_type, body, expected):
    made = exchange({}, body, request_headers=headers(content_type))
    assert image_finder(ImageConfig(source=source))(made) == expected


@pytest.mark.parametrize(
    ("source", "content_type", "body"),
    [
        ("auto", b"application/json", b"{"),
        ("auto", b"application/json", {"image": "abc"}),
        ("multipart", b"multipart/form-data", b"x"),
        ("multipart", b"application/json", b"{}"),
        ("image", b"application/json", {"image": ["AAAA"] * 65}),
        ("auto", b"application/json", {"images": ["AAAA"] * 65}),
        (
            "multipart",
            b"multipart/form-data; boundary=XX",
            multipart(*[(b"Content-Type: image/png", b"one")] * 65),
        ),
    ],
)
def test_what_is_not_as_said_is_unreadable(source, content_type, body):
    with pytest.raises(PayloadError):
        image_finder(ImageConfig(source=source))(exchange({}, body, request_headers=headers(content_type)))
