"""Reading YAML: a tree of plain values or a ConfigError, and nothing else, whatever the file holds."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config import Config
from exporter.config.loading import load_config
from exporter.config.tree import MAX_DEPTH, MAX_FILE_BYTES, MAX_VALUES, read_file, read_text
from exporter.errors import ConfigError

# What YAML is made of, and what has broken readers of it before.
PIECES = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "- ",
    "? ",
    "\n",
    "\n  ",
    "&a ",
    "*a",
    "<<",
    "<<: ",
    "!!int ",
    "!!x ",
]
PIECES += [
    "!",
    "|\n",
    ">-\n",
    "%YAML 9.9\n",
    "---\n",
    "...\n",
    "'",
    '"',
    "\\U",
    "\\UFFFFFFFF",
    "#",
    "{{ name }}",
]
PIECES += [
    "2020-13-45",
    "1:99",
    "0x",
    "1_",
    ".inf",
    "~",
    "yes",
    "9" * 5000,
    "model",
    "drift",
    "\t",
    "\x00",
    "é",
]
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc <-", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(text, "it")
    return str(caught.value)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=24).map("".join))
@example("model: {{ name }}")
@example("model: " + "[" * 2000)
@example("model: " + "{a: " * 2000)
@example("? " * 2000)
@example("- " * 2000)
@example("%YAML " + "9" * 5000 + ".1\n--- a")
def test_any_text_gives_a_tree_or_a_configuration_error(text: str):
    with contextlib.suppress(ConfigError):
        read_text(text, "it")


@settings(deadline=None)
@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map(lambda p: "".join(p).encode())
)
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbfmodel: a")
@example(b"<learn>: 1")
@example(b"drift: [{<path>: 1}]")
def test_any_file_gives_a_configuration_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(load_config(path, environment={}), Config)


@settings(deadline=None)
@given(PLAIN, st.booleans())
def test_what_is_valid_is_read_as_pyyaml_reads_it(value: object, flow: bool):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert read_text(text, "it").data == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n",
        "a: &x {b: 1}\ny: &y {b: 2, e: 5}\nd: {<<: [*x, *y], c: 3}\n",
        "a: &x [1, 2]\nb: *x\n",
        "a: '<<'\n",
        "a: !!str 5\nb: !!float 5\nc: !!null ''\nd: ! 7\n",
        "a: !!seq [1]\nb: !!map {c: 1}\n",
        "&k key: 1\n",
        "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
        "a: 0x1F\nb: 1_000\nc: 1e3\nd: 1.0e+3\ne: on\n",
    ],
)
def test_the_rest_of_the_language_is_read_as_pyyaml_reads_it(text: str):
    assert read_text(text, "it").data == yaml.safe_load(text)


def test_a_date_is_text():
    assert read_text("model: 2024-01-31", "it").data == {"model": "2024-01-31"}


def test_each_key_and_item_has_its_line():
    lines = read_text("a:\n  b: 1\n\n  c:\n  - 1\n  - d: 2\n", "it").lines
    assert lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
    }


def test_depth_and_size_are_bounded_and_the_bounds_can_be_reached():
    assert read_text("[" * MAX_DEPTH + "]" * MAX_DEPTH, "it").data
    assert "nested deeper" in problem("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert len(read_text("[" + "1," * (MAX_VALUES - 1) + "]", "it").data) == MAX_VALUES - 1
    assert "more than" in problem("[" + "1," * MAX_VALUES + "]")


def test_an_alias_counts_as_often_as_it_stands():
    twice = "\n".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]" for i in range(40))
    assert "aliases" in problem(f"a0: &a0 [x]\n{twice}\n")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "it is a pipe or a device, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a pipe or a device, not a file"),
        (lambda path: path.write_bytes(b"#" * (MAX_FILE_BYTES + 1)), "it is longer than 1 MiB"),
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8 text"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_of_text_is_refused_without_waiting(tmp_path: Path, make, reason: str):
    path = tmp_path / "c.yaml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    assert str(caught.value) == (
        f"config file {path}: cannot be read ({reason}); give the path of a YAML file in UTF-8"
    )


def test_a_path_that_cannot_be_one_is_refused():
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(Path("a\x00b"))
