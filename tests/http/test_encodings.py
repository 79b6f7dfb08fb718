from __future__ import annotations

import contextlib
import gzip
import importlib
import random
import time
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from exporter.decoders.base import request_json, response_json
from exporter.errors import PayloadError
from exporter.http.encodings import MAX_MEMBERS, decode
from exporter.http.exchange import Exchange

TEXT = b'{"prediction": "cat", "probability": 0.5}' * 20


def bare_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODERS = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"DEFLATE": bare_deflate,
    b"br": lambda data: brotli.compress(data, quality=4),
    b"zstd": zstandard.compress,
    b"identity": bytes,
    b"": bytes,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoding_comes_back(name):
    assert decode(ENCODERS[name](TEXT), name, len(TEXT)) == TEXT
    assert decode(ENCODERS[name](b""), name, 10) == b""


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in (b"", b"identity")])
def test_one_byte_over_the_cap_is_too_large(name):
    with pytest.raises(PayloadError) as caught:
        decode(ENCODERS[name](TEXT), name, len(TEXT) - 1)
    assert caught.value.reason == "body_too_large"


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"br", b"zstd"])
def test_a_bomb_is_stopped_at_the_cap(name):
    bomb = ENCODERS[name](bytes(64 * 1024 * 1024))
    assert len(bomb) < 1024 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError) as caught:
            decode(bomb, name, 1024 * 1024)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "body_too_large"
    assert peak < 16 * 1024 * 1024


def test_layers_are_undone_from_the_last():
    assert decode(brotli.compress(gzip.compress(TEXT)), b"gzip, br", 10_000) == TEXT
    with pytest.raises(PayloadError, match="4 layers"):
        decode(TEXT, b"gzip, gzip, gzip, gzip", 10_000)


def test_gzip_members_in_a_row_are_one_body():
    assert decode(gzip.compress(b"ab") + gzip.compress(b"cd"), b"gzip", 10) == b"abcd"


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3)), min_size=1, max_size=5),
    st.integers(0, 2),
    st.sampled_from([b"gzip", b"deflate"]),
)
def test_members_come_back_wherever_their_ends_fall(members, big, name):
    """Also where an end, or the zeros behind it, meets the end of a piece that zlib is given."""
    parts = [(text + random.Random(1).randbytes(16_300 * big), zeros) for text, zeros in members]
    body = b"".join(ENCODERS[name](text) + bytes(zeros) for text, zeros in parts)
    whole = b"".join(text for text, _ in parts)
    assert decode(body, name, len(whole)) == whole


def test_as_many_members_as_may_be_are_read_and_no_more():
    assert decode(gzip.compress(b"a") * MAX_MEMBERS, b"gzip", 10_000) == b"a" * MAX_MEMBERS
    with pytest.raises(PayloadError, match="more than 4096 gzip members") as caught:
        decode(gzip.compress(b"a") * (MAX_MEMBERS + 1), b"gzip", 10_000)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"br", b"zstd"])
@pytest.mark.parametrize("padding", [0, 2030])
def test_a_body_of_ends_costs_no_more_than_its_length(name, padding):
    """8 MiB of empty members, frames or metadata blocks: each of them must not cost a copy of the rest."""
    nothing = b"\x06" if name == b"br" else ENCODERS[name](b"")
    if name in (b"gzip", b"deflate"):
        nothing += bytes(padding)
    body = nothing * (8 * 1024 * 1024 // len(nothing))
    started = time.process_time()
    with contextlib.suppress(PayloadError):
        assert decode(body, name, 8 * 1024 * 1024) == b""
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"DEFLATE", b"br"])
def test_a_body_that_breaks_off_is_unreadable(name):
    whole = ENCODERS[name](random.Random(1).randbytes(5000))
    with pytest.raises(PayloadError) as caught:
        decode(whole[:-20], name, 10_000)
    assert caught.value.reason == "unreadable"


def test_an_unknown_encoding_names_the_known_ones():
    with pytest.raises(PayloadError, match="b'lzma' is not one of gzip, x-gzip, deflate, br, zstd"):
        decode(TEXT, b"lzma", 10_000)


@pytest.mark.parametrize(("name", "module"), [(b"br", "brotli"), (b"zstd", "zstandard")])
def test_a_missing_library_is_named_with_the_extra(monkeypatch, name, module):
    def missing(wanted: str) -> object:
        raise ImportError(wanted)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        PayloadError, match=f"needs the package {module}; install inference-exporter.encodings"
    ):
        decode(TEXT, name, 10_000)


@given(st.binary(max_size=300), st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"br,gzip", b"\xff"]))
def test_any_bytes_decode_or_raise_a_payload_error(body, name):
    with contextlib.suppress(PayloadError):
        assert len(decode(body, name, 1000)) <= 1000


def test_an_exchange_is_decoded_by_its_headers():
    exchange = Exchange("POST", "/p", b"", ((b"content-encoding", b"gzip"),), max_body_bytes=100, started=0.0)
    exchange.request_chunk(gzip.compress(b"[1]"))
    exchange.response_start(200, ((b"content-encoding", b"br"),))
    exchange.response_chunk(brotli.compress(b"[2]"))
    assert request_json(exchange) == [1]
    assert response_json(exchange) == [2]


def test_a_truncated_body_is_too_large_and_says_which():
    exchange = Exchange("POST", "/p", max_body_bytes=3, started=0.0)
    exchange.request_chunk(b"[1,2]")
    exchange.response_start(200, ())
    exchange.response_chunk(b"[1,2]")
    for read, which in ((request_json, "request"), (response_json, "response")):
        with pytest.raises(PayloadError, match=f"{which} is longer than max_body_bytes .3.") as caught:
            read(exchange)
        assert caught.value.reason == "body_too_large"
