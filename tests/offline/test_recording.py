"""Reading recorded streams."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from exporter.errors import InvalidEmbedding
from exporter.offline.recording import read_recording

ROWS = np.array([[0.5, 1.0, -2.0], [np.nan, 0.0, 3.5]])


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", ROWS)
    np.savez(tmp_path / "s.npz", stream=ROWS)
    np.savetxt(tmp_path / "s.csv", ROWS, delimiter=",", header="a,b,c", comments="")
    parquet.write_table(pyarrow.table({"embedding": list(ROWS)}), tmp_path / "s.parquet")
    lines = "\n\n".join(json.dumps([None if np.isnan(v) else v for v in row]) for row in ROWS)
    (tmp_path / "s.jsonl").write_text(lines)
    for name in ("s.npy", "s.npz", "s.csv", "s.parquet", "s.jsonl"):
        recording = read_recording(tmp_path / name)
        assert np.array_equal(recording.embeddings, ROWS, equal_nan=True), name
        assert recording.request_ids == ()


def test_single_numbers_are_rows_of_one(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.arange(5))
    assert read_recording(tmp_path / "s.npy").embeddings.shape == (5, 1)


def test_lines_carry_request_ids(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"embedding": [1, 2], "request_id": "a"}\n'
        '{"embedding": [3, 4]}\n'
        '{"v": [5, 6], "embedding": [7, 8], "request_id": 9}'
    )
    assert read_recording(path).request_ids == ("a", None, "9")
    path.write_text('{"v": [5, 6]}')
    assert read_recording(path, key="v").embeddings.tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("3", r"line 2 has no list of numbers; write \[0.1, ...\] or an object with 'embedding'"),
        ("[]", "line 2 has no list of numbers"),
        ('["a", "b"]', "line 2 has no list of numbers"),
        ("[[1, 2], [3]]", "line 2 has no list of numbers"),
        ("[[1, 2]]", "line 2 has no list of numbers"),
        ('{"vector": [1, 2]}', "line 2 has no list of numbers"),
        ("[1, 2, 3]", "line 2 has 3 numbers, the first has 2; all must have the same length"),
        ("[" * 2000 + "]" * 2000, "line 2"),
        ("\xff", "line 2 is not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "s.jsonl").write_bytes(b"[1, 2]\n" + line.encode("latin-1"))
    with pytest.raises(InvalidEmbedding, match=message):
        read_recording(tmp_path / "s.jsonl")


def test_what_holds_no_rows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").touch()
    with pytest.raises(InvalidEmbedding, match="has no rows"):
        read_recording(tmp_path / "s.jsonl")
    np.save(tmp_path / "s.npy", np.zeros((0, 3)))
    with pytest.raises(InvalidEmbedding, match="has no rows"):
        read_recording(tmp_path / "s.npy")
    np.save(tmp_path / "s.npy", np.zeros((2, 3, 4)))
    with pytest.raises(InvalidEmbedding, match=r"shape \(2, 3, 4\); give real numbers of shape \(n, d\)"):
        read_recording(tmp_path / "s.npy")
    np.save(tmp_path / "s.npy", np.array([["a"]]))
    with pytest.raises(InvalidEmbedding, match="give real numbers"):
        read_recording(tmp_path / "s.npy")
    with pytest.raises(InvalidEmbedding, match=r"stream: .* does not exist"):
        read_recording(tmp_path / "none.csv")


def test_nothing_pickled_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidEmbedding, match="cannot be read"):
        read_recording(tmp_path / "s.npy")


def test_the_index_of_a_frame_is_left_out_as_it_is_from_a_reference(tmp_path: Path) -> None:
    (tmp_path / "stream.csv").write_text("Unnamed: 0,a,b\n0,0.5,1.5\n1,2.5,3.5\n")
    recording = read_recording(tmp_path / "stream.csv")
    np.testing.assert_array_equal(recording.embeddings, [[0.5, 1.5], [2.5, 3.5]])
