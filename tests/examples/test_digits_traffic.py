from __future__ import annotations

import base64
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from examples.digits.images import from_base64, load_splits, to_input
from examples.digits.network import load_network
from examples.digits.traffic import BAD_PAYLOADS, BLOCK, CHANGES, PHASES, payloads, pictures
from examples.digits.train import WEIGHTS
from exporter.detectors.mmd.online import OnlineMMD

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def look(artefacts: Path):
    """Embeddings (n, 64), confidences (n,) and whether the answers are right (n,)."""
    network = load_network(artefacts / WEIGHTS)

    def look(phase: str, count: int, seed: int = 1) -> Arrays:
        shown = list(islice(pictures(phase, seed), count))
        with torch.inference_mode():
            embeddings = network.embed(torch.from_numpy(np.stack([to_input(p) for p, _ in shown])))
            probabilities = network.head(embeddings).softmax(dim=1)
        right = probabilities.argmax(dim=1).numpy() == np.array([label for _, label in shown])
        return embeddings.numpy(), probabilities.max(dim=1).values.numpy(), right

    return look


@pytest.mark.parametrize("phase", PHASES)
def test_the_same_seed_sends_the_same_and_another_seed_does_not(phase: str) -> None:
    first, again, other = (list(islice(payloads(phase, seed), 12)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("phase", PHASES[:-1])
def test_pictures_are_small_pngs(phase: str) -> None:
    for body in islice(payloads(phase), 3):
        assert base64.b64decode(body["image"]).startswith(b"\x89PNG")
        assert from_base64(body["image"]).shape == (32, 32)


def test_errors_are_drawn_from_all_bad_bodies() -> None:
    sent = list(islice(payloads("errors"), 60))
    assert {str(body) for body in sent} == {str(body) for body in BAD_PAYLOADS}


def test_clean_pictures_come_from_images_that_the_reference_does_not_hold() -> None:
    splits = load_splits()
    for phase in ("clean", "low-confidence"):
        labels = {label for _, label in islice(pictures(phase), 200)}
        assert labels == set(range(10))
    assert not {i.tobytes() for i in splits.traffic.images} & {i.tobytes() for i in splits.reference.images}


def test_low_confidence_pictures_make_the_network_unsure(look) -> None:
    _, clean, right = look("clean", 200)
    _, unsure, _ = look("low-confidence", 200)
    assert clean.mean() > 0.9
    assert right.mean() > 0.9
    assert unsure.mean() < 0.75


def test_drifted_goes_through_all_changes_in_turn() -> None:
    shown = [picture for picture, _ in islice(pictures("drifted", 1), len(CHANGES) * BLOCK)]
    means = [np.mean(shown[i * BLOCK : (i + 1) * BLOCK]) for i in range(len(CHANGES))]
    inverted = list(CHANGES).index("inverted")
    assert means[inverted] > 150  # ink is rarer than paper: only inverted pictures are bright
    assert means[0] < 110


def test_inverting_swaps_ink_and_paper() -> None:
    picture, _ = next(pictures("clean"))
    changed = CHANGES["inverted"](picture, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, 255 - picture)


def test_every_change_is_found_and_clean_traffic_is_not(digits_detector: OnlineMMD, look) -> None:
    detector = digits_detector
    for phase in ("clean", "low-confidence", "drifted", *CHANGES):
        detector.reset()
        before = detector.update(look("clean", 400, seed=8)[0])
        assert not before.is_drift.any()
        scores = detector.update(look(phase, 100)[0])
        if phase == "clean":
            assert not scores.is_drift.any()
        else:
            assert int(np.argmax(scores.is_drift)) + 1 < 50, phase
            assert scores.is_drift.any()


@pytest.mark.parametrize("phase", ["errors", "unknown"])
def test_a_phase_without_pictures_is_an_error(phase: str) -> None:
    with pytest.raises(ValueError, match="choose one of clean"):
        next(pictures(phase))
