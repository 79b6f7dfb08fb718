from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.digits.images import load_splits
from examples.digits.network import CLASSES, EMBEDDING_SIZE, DigitNet, load_network, recipe_of, save_network
from examples.digits.train import REFERENCE, REFERENCE_SIZE, WEIGHTS, Trained, drawn, ensure_trained, train


def test_the_network_reads_digits_that_it_has_not_seen(trained: Trained) -> None:
    assert trained.accuracy > 0.92


def test_an_untrained_network_guesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.digits.train._fit", lambda *arguments: None)
    monkeypatch.setattr("examples.digits.train.REFERENCE_SIZE", 50)
    assert train(tmp_path).accuracy < 0.3


def test_every_image_is_drawn_as_often_as_the_others() -> None:
    split = load_splits().reference
    pixels = drawn(split, 2 * len(split), np.random.default_rng(0))
    assert pixels.shape == (2 * len(split), 1, 8, 8)
    per_image = split.images.sum() / 16.0
    assert pixels.sum() == pytest.approx(2 * per_image, rel=0.05)


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    network = DigitNet().eval()
    save_network(network, tmp_path / WEIGHTS)
    pixels = torch.rand(3, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(load_network(tmp_path / WEIGHTS)(pixels), network(pixels))
        assert network(pixels).shape == (3, CLASSES)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.digits.train.REFERENCE_SIZE", 50)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        train(tmp_path / name, seed=seed, epochs=1)
    for file in (WEIGHTS, REFERENCE):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b
        assert a != c
        assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [REFERENCE, WEIGHTS]


def test_the_reference_is_what_goes_into_the_last_layer(artefacts: Path) -> None:
    with np.load(artefacts / REFERENCE, allow_pickle=False) as file:
        reference = file["reference"]
    assert reference.shape == (REFERENCE_SIZE, EMBEDDING_SIZE)
    assert reference.dtype == np.float32
    assert np.isfinite(reference).all()


def test_no_file_holds_a_pickle(artefacts: Path) -> None:
    with zipfile.ZipFile(artefacts / REFERENCE) as archive:
        for name in archive.namelist():
            header = archive.read(name)
            assert header.startswith(b"\x93NUMPY")
            assert b"'|O'" not in header[:128]  # an array of objects would be pickled
    weights = (artefacts / WEIGHTS).read_bytes()
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    assert len(weights) == 8 + length + end  # nothing but the header and the numbers that it lists


def test_files_are_made_when_they_are_missing_or_stale_and_else_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.digits.train.REFERENCE_SIZE", 50)
    calls: list[Path] = []

    def quick(directory: Path) -> Trained:
        calls.append(directory)
        return train(directory, epochs=1)

    monkeypatch.setattr("examples.digits.train.train", quick)
    assert ensure_trained(tmp_path) is not None
    assert ensure_trained(tmp_path) is None
    (tmp_path / REFERENCE).unlink()
    assert ensure_trained(tmp_path) is not None
    save_network(DigitNet(), tmp_path / WEIGHTS, "made by other code")
    assert ensure_trained(tmp_path) is not None
    assert len(calls) == 3


def test_the_recipe_travels_with_the_weights(tmp_path: Path) -> None:
    save_network(DigitNet(), tmp_path / WEIGHTS, "a recipe")
    assert recipe_of(tmp_path / WEIGHTS) == "a recipe"
    assert recipe_of(tmp_path / "absent") is None
