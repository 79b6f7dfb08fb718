"""The network, and its weights on disk."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

EMBEDDING_SIZE = 64
CLASSES = 10


class DigitNet(nn.Module):
    """Two convolutions and two linear layers, about 26,000 weights.

    What goes into the last layer, ``head``, is the embedding: 64 numbers that say what the network
    sees in a picture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, EMBEDDING_SIZE),
            nn.ReLU(),
        )
        self.head = nn.Linear(EMBEDDING_SIZE, CLASSES)

    def embed(self, pictures: Tensor) -> Tensor:
        """Turn (n, 1, 8, 8) pictures into (n, 64) embeddings."""
        embeddings: Tensor = self.features(pictures)
        return embeddings

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn (n, 1, 8, 8) pictures into (n, 10) logits."""
        logits: Tensor = self.head(self.embed(pictures))
        return logits


def save_network(network: DigitNet, path: Path, recipe: str = "") -> None:
    """Write the weights as safetensors: numbers and names only, so that loading runs no code.

    ``recipe`` says how they came about; :func:`recipe_of` gives it back.
    """
    save_file(network.state_dict(), str(path), metadata={"recipe": recipe})


def load_network(path: Path) -> DigitNet:
    """Read what :func:`save_network` wrote, ready to predict."""
    network = DigitNet()
    network.load_state_dict(load_file(str(path)))
    return network.eval()


def recipe_of(path: Path) -> str | None:
    """Read the recipe in a file of weights; None if there is no such file, or none in it."""
    if not path.is_file():
        return None
    with safe_open(str(path), framework="pt") as file:
        return (file.metadata() or {}).get("recipe")
