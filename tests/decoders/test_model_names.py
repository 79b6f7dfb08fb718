"""Which model an exchange speaks of: the protocols' own paths and bodies, and anything else."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.decoders import model_names
from exporter.decoders.model_names import name_of, named_in_path, version_of, version_reader
from exporter.http.exchange import Exchange
from exporter.model import can_be_label


def exchange(
    path: str = "/predict", request: Any = b"", response: Any = b"{}", headers: Any = (), given: Any = ()
) -> Exchange:
    made = Exchange("POST", path, b"", tuple(headers), max_body_bytes=1 << 20, started=1.0)
    made.request_chunk(request if isinstance(request, bytes) else orjson.dumps(request))
    made.response_start(200, tuple(given))
    made.response_chunk(response if isinstance(response, bytes) else orjson.dumps(response))
    made.finish(2.0)
    return made


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v2/models/iris/infer", ("iris", None)),  # Open Inference V2: MLServer, Triton, KServe
        ("/v2/models/iris/versions/3/infer", ("iris", "3")),
        ("/v2/models/iris/versions/v1.2.0/generate", ("iris", "v1.2.0")),
        ("/v2/models/iris", ("iris", None)),
        ("/seldon/ns/name/v2/models/iris/infer", ("iris", None)),
        ("/v1/models/half_plus_two:predict", ("half_plus_two", None)),  # TensorFlow Serving, KServe V1
        ("/v1/models/half_plus_two/versions/123:predict", ("half_plus_two", "123")),
        ("/v1/models/half_plus_two/labels/stable:predict", ("half_plus_two", None)),
        ("/predictions/densenet161", ("densenet161", None)),  # TorchServe
        ("/predictions/densenet161/1.0", ("densenet161", "1.0")),
        ("/explanations/mnist/", ("mnist", None)),
        ("/v2/models/a%20b/infer", ("a b", None)),
        ("/v2/models/meta%2Fllama/infer", ("meta/llama", None)),
        ("/predict", (None, None)),
        ("/v2/health/ready", (None, None)),
        ("/v1/models", (None, None)),
        ("/v3/models/iris/infer", (None, None)),
        ("/my/predictions/of/the/day", (None, None)),
    ],
)
def test_paths_of_the_protocols(path: str, named: tuple[str | None, str | None]):
    assert named_in_path(path) == named


@pytest.mark.parametrize(
    ("request_body", "response", "name"),
    [
        ({"model": "gpt-4o", "messages": []}, {"model": "gpt-4o-2024-08-06"}, "gpt-4o"),  # OpenAI: as asked
        ({"messages": [{"role": "user", "content": '{"model": "no"}'}], "model": "llama"}, {}, "llama"),
        ({"input": ["a"], "model": "bge-m3"}, {}, "bge-m3"),
        ({"model_id": "churn", "rows": [{"model": "no"}]}, {}, "churn"),
        ({"inputs": [], "id": "1"}, {"model_name": "iris", "outputs": []}, "iris"),  # V2 behind another path
        ({"model": 7}, {}, "7"),
        ({"model": None, "rows": []}, {"model": "said"}, "said"),
        ({"model": {"name": "no"}}, {}, None),
        ({"model": True}, {}, None),
        ([{"model": "no"}], {}, None),
        (b'{"model": "broken', b"", None),
        (b"\xff\xfe{", b"model", None),
        (b"", b"", None),
    ],
)
def test_bodies(request_body: Any, response: Any, name: str | None):
    assert name_of(exchange(request=request_body, response=response)) == name


def test_the_path_wins_and_no_body_is_parsed_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_names, "_member", lambda *_: pytest.fail("a body was looked at"))
    made = exchange("/v2/models/iris/versions/3/infer", {"model": "no"}, {"model_version": "no"})
    assert (name_of(made), version_of(made)) == ("iris", "3")


def test_a_name_that_stands_first_is_found_without_parsing_the_rest(monkeypatch: pytest.MonkeyPatch):
    parsed: list[bytes] = []
    loads = orjson.loads
    monkeypatch.setattr(model_names.orjson, "loads", lambda data: parsed.append(bytes(data)) or loads(data))
    body = b'{"stream": false, "model": "llama", "messages": [' + b"1," * 100_000 + b"2]}"
    assert name_of(exchange(request=body)) == "llama"
    assert parsed == [b'"llama"']


def test_versions():
    v2 = {"model_name": "iris", "model_version": "v7", "outputs": []}
    assert version_of(exchange("/v2/models/iris/infer", {}, v2)) == "v7"
    packed = exchange("/x", {}, gzip.compress(orjson.dumps(v2)), given=[(b"content-encoding", b"gzip")])
    assert version_of(packed) == "v7"
    assert version_of(exchange()) is None
    sent = exchange(headers=[(b"x-canary", b"blue")], given=[(b"x-model-version", b"2.1")])
    assert version_reader("header:X-Model-Version")(sent) == "2.1"
    assert version_reader("request-header:x-canary")(sent) == "blue"
    assert version_reader("header:x-canary")(sent) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["model", "model_id", "a", "b\\"]) | st.text(), json_values))
def test_the_quick_way_finds_what_parsing_all_of_it_does(document: dict[str, Any]):
    keys = [key for key in document if key in ("model", "model_id", "model_name")]
    expected = {str(document[key]) if type(document[key]) in (str, int) else None for key in keys} or {None}
    assert name_of(exchange(request=orjson.dumps(document))) in expected


@given(st.binary(max_size=200), st.text(max_size=60))
def test_no_body_and_no_path_does_anything_but_name_or_not(body: bytes, path: str):
    made = exchange(f"/{path}", body, body)
    assert name_of(made) is None or isinstance(name_of(made), str)
    assert version_of(made) is None or isinstance(version_of(made), str)


@given(st.text(max_size=140) | st.text(alphabet="a\n\ud800 ", max_size=4) | st.none() | st.integers())
def test_what_can_be_a_label_is_one_printable_line_that_a_scrape_can_carry(text: Any):
    if can_be_label(text):
        assert 1 <= len(text) <= 128
        assert text.encode()
        assert len(text.splitlines()) == 1
        assert not any(ord(character) < 32 for character in text)
        assert text.strip() == text
    else:
        is_line = isinstance(text, str) and text.isprintable() and text.strip() == text
        assert not is_line or not 1 <= len(text) <= 128


@pytest.mark.parametrize("text", ["iris", "meta-llama/Llama-3.1-8B", "größe", "a b", "x" * 128])
def test_usual_names_can(text: str):
    assert can_be_label(text)


@pytest.mark.parametrize(
    "text", ["", " ", " a", "a\nb", "x" * 10_240, "\ud800", "a\tb", "\u2028", "a\0", None, 1]
)
def test_what_cannot(text: Any):
    assert not can_be_label(text)
