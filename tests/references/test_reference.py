from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.errors import ConfigError, InvalidEmbedding, InvalidReference
from exporter.references.reference import ReferenceLearner, load_reference


def rows(n: int = 60, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("window", [10, [5, 15]])
@pytest.mark.parametrize("name", ["r.npy", "r.npz", "many.npz", "r.csv", "names.csv", "bom.csv"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, window: int | list[int]) -> None:
    x, path = rows(), tmp_path / name
    if name == "r.npy":
        np.save(path, x)
    elif name == "r.npz":
        np.savez(path, whatever=x)
    elif name == "many.npz":
        np.savez(path, labels=np.arange(60), embeddings=x)
    else:
        header = "a,b,c\n" if name == "names.csv" else "\ufeff" if name == "bom.csv" else ""
        path.write_text(header + "\n".join(",".join(map(repr, row.tolist())) for row in x), encoding="utf-8")
    found = load_reference(path, window=window)
    np.testing.assert_array_equal(found, x)
    assert found.dtype == np.float64


def test_an_array_of_an_npz_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", reference=rows(seed=1), mine=rows(seed=2))
    np.testing.assert_array_equal(load_reference(tmp_path / "r.npz", window=10, key="mine"), rows(seed=2))
    with pytest.raises(InvalidReference, match="there is no 'yours'"):
        load_reference(tmp_path / "r.npz", window=10, key="yours")
    np.savez(tmp_path / "odd.npz", one=rows(), two=rows())
    with pytest.raises(InvalidReference, match="holds one, two; name the array one of reference"):
        load_reference(tmp_path / "odd.npz", window=10)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_columns_or_a_column_of_lists(tmp_path: Path, nested: bool) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x = rows()
    table = {"embedding": x.tolist()} if nested else {f"c{i}": x[:, i] for i in range(3)}
    parquet.write_table(pyarrow.table(table), tmp_path / "r.parquet")
    np.testing.assert_array_equal(load_reference(tmp_path / "r.parquet", window=10), x)
    with pytest.raises(InvalidReference, match="there is no 'x'"):
        load_reference(tmp_path / "r.parquet", window=10, key="x")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "r.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidReference, match="pip install pyarrow"):
        load_reference(tmp_path / "r.parquet", window=10)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.txt", b"1,2", "give a file ending in .npy, .npz, .csv, .parquet"),
        ("r.npy", b"", "cannot be read"),
        ("r.npy", b"\x93NUMPY rubbish", "cannot be read"),
        ("r.npy", pickle.dumps([1, 2]), "cannot be read"),
        ("r.npz", b"PK\x03\x04 cut off", "cannot be read"),
        ("r.csv", b"a,b\n1,x\n", "cannot be read"),
        ("r.csv", b"\xff\xfe\x00", "cannot be read"),
        ("r.csv", b"a,b\n1,2\n3\n", "cannot be read"),
    ],
)
def test_what_is_no_such_file_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidReference, match=message):
        load_reference(tmp_path / name, window=10)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidReference, match=r"none\.npy does not exist"):
        load_reference(tmp_path / "none.npy")


def with_value(value: float) -> np.ndarray:
    x = rows()
    x[7, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (rows(39), "39 rows; a window of 10 needs at least 40: give more rows or a window of at most 9"),
        (rows().ravel(), r"shape \(180,\)"),
        (np.empty((60, 0)), r"shape \(60, 0\)"),
        (with_value(np.nan), r"1 of 60 rows hold NaN or infinity \(first: row 7\)"),
        (with_value(-np.inf), "1 of 60 rows"),
        (np.ones((60, 3)), "constant"),
        (np.repeat(rows(9), 10, axis=0), "only 9 distinct rows"),
        (rows().astype("U8"), "dtype"),
    ],
)
def test_what_cannot_serve_as_a_reference_is_an_error(tmp_path: Path, x: np.ndarray, message: str) -> None:
    np.save(tmp_path / "r.npy", x)
    with pytest.raises(InvalidReference, match=message):
        load_reference(tmp_path / "r.npy", window=10)


def test_a_reference_is_learned_from_the_first_good_rows() -> None:
    learner = ReferenceLearner(40, window=10)
    x = rows(100)
    stream = np.insert(x, [0, 20, 70], np.nan, axis=0)
    assert not learner.complete
    assert learner.add(stream[0]) == 1
    assert learner.add(stream[1:11]) == 10
    assert learner.add(torch.as_tensor(stream[11:31], dtype=torch.float64)) == 20
    assert (learner.count, learner.refused, learner.complete) == (29, 2, False)
    # Row 42 of the stream completes it; the rest is left for the detector.
    assert learner.add(stream[31:]) == 11
    assert (learner.count, learner.complete) == (40, True)
    assert learner.add(stream[50:]) == 0
    np.testing.assert_array_equal(learner.reference(), x[:40])


def test_embeddings_of_another_length_do_not_spoil_the_learning() -> None:
    learner = ReferenceLearner(40, window=10)
    learner.add(rows(5))
    with pytest.raises(InvalidEmbedding, match="length 3"):
        learner.add(rows(5, 4))
    assert learner.count == 5


def test_a_learned_reference_obeys_the_rules() -> None:
    with pytest.raises(ConfigError, match="learn: 39; a window of 10 needs at least 40"):
        ReferenceLearner(39, window=10)
    learner = ReferenceLearner(40, window=10)
    with pytest.raises(InvalidReference, match="no embedding has arrived yet"):
        learner.reference()
    learner.add(np.ones((40, 3)))
    with pytest.raises(InvalidReference, match="constant"):
        learner.reference()
