"""Train the network and save what the service needs: ``python -m examples.digits.train``.

Two files come out: ``weights.safetensors``, and ``reference.npz`` with the embeddings of images that
the network has not been trained on. Neither holds pickled objects.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.digits.images import Split, draw, load_splits, to_input
from examples.digits.network import DigitNet, recipe_of, save_network

BUILD = Path(__file__).parent / ".build"
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.npz"
REFERENCE_SIZE = 1000
EPOCHS = 40
BATCH = 64


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gave: where the files are, and how good the network is on images it has not seen."""

    weights: Path
    reference: Path
    accuracy: float
    seconds: float


def drawn(split: Split, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw ``count`` inputs from a split, each image as often as the others: (count, 1, 8, 8) float32."""
    rounds = -(-count // len(split))
    order = np.concatenate([rng.permutation(len(split)) for _ in range(rounds)])[:count]
    return np.stack([to_input(draw(split.images[i], rng)) for i in order])


def train(directory: Path = BUILD, *, seed: int = 0, epochs: int = EPOCHS) -> Trained:
    """Train from scratch and write both files; the same seed gives the same files.

    Parameters
    ----------
    directory
        Where to write; created if it is missing.
    seed
        Seeds the initial weights, the order of the images and their variations.
    """
    started = time.perf_counter()
    splits = load_splits()
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitNet()
    _fit(network, splits.train, epochs, rng)
    network.eval()

    test = torch.from_numpy(np.stack([to_input(draw(image, rng)) for image in splits.traffic.images]))
    with torch.inference_mode():
        answers = network(test).argmax(dim=1).numpy()
        embeddings = network.embed(torch.from_numpy(drawn(splits.reference, REFERENCE_SIZE, rng))).numpy()
    accuracy = float((answers == splits.traffic.labels).mean())

    directory.mkdir(parents=True, exist_ok=True)
    weights, reference = directory / WEIGHTS, directory / REFERENCE
    # Under other names first, and the weights last: whoever finds them finds both files whole.
    with TemporaryDirectory(dir=directory) as folder:
        np.savez(Path(folder) / REFERENCE, reference=embeddings)
        save_network(network, Path(folder) / WEIGHTS, _recipe())
        for name in (REFERENCE, WEIGHTS):
            (Path(folder) / name).replace(directory / name)
    return Trained(weights, reference, accuracy, time.perf_counter() - started)


def ensure_trained(directory: Path = BUILD) -> Trained | None:
    """Train unless both files are there, made by the code as it stands; None if they were."""
    if (directory / REFERENCE).is_file() and recipe_of(directory / WEIGHTS) == _recipe():
        return None
    return train(directory)


def _recipe() -> str:
    """A hash of the code that the files depend on."""
    sources = ("images.py", "network.py", "train.py")
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in sources)
    return hashlib.sha256(code).hexdigest()


def _fit(network: DigitNet, split: Split, epochs: int, rng: np.random.Generator) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * -(-len(split) // BATCH)
    )
    loss = nn.CrossEntropyLoss()
    labels = torch.from_numpy(split.labels)
    network.train()
    for _ in range(epochs):
        # Every epoch sees other variations of the same images.
        pictures = torch.from_numpy(np.stack([to_input(draw(image, rng)) for image in split.images]))
        for chosen in torch.split(torch.from_numpy(rng.permutation(len(split))), BATCH):
            optimizer.zero_grad()
            loss(network(pictures[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    """Train, and say how it went."""
    parser = argparse.ArgumentParser(description="Train the digits example.")
    parser.add_argument("--directory", type=Path, default=BUILD, help="where to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = train(arguments.directory, seed=arguments.seed)
    print(f"accuracy on unseen digits: {result.accuracy:.3f} (trained in {result.seconds:.1f} s)")
    print(f"wrote {result.weights}")
    print(f"wrote {result.reference}")


if __name__ == "__main__":
    main()
