"""The service: ``python -m examples.digits.service``, then POST a picture to /predict.

All that it takes to be watched is the one statement that starts with ``InferenceExporter``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from examples.digits.images import UnreadableImage, from_base64, to_input
from examples.digits.network import load_network
from examples.digits.train import BUILD, REFERENCE, WEIGHTS, ensure_trained
from examples.limits import BodyLimit
from examples.serving import add_address, serve
from exporter import InferenceExporter

WINDOW = 50
EXPECTED_RUN_LENGTH = 1_000_000  # tests between false alarms
MAX_BODY_BYTES = 1024 * 1024


class Question(BaseModel):
    """A picture of a digit."""

    image: str = Field(min_length=1, description="a PNG or JPEG file in base64")


class Answer(BaseModel):
    """The digit, and how sure the network is: 0 to 1."""

    prediction: str
    probability: float


def create_app(artefacts: Path = BUILD) -> FastAPI:
    """Build the app from what ``python -m examples.digits.train`` wrote to ``artefacts``."""
    network = load_network(artefacts / WEIGHTS)
    app = FastAPI(title="digits")
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)

    @app.post("/predict")
    def predict(question: Question) -> Answer:
        try:
            picture = from_base64(question.image)
        except UnreadableImage as error:
            raise HTTPException(400, str(error)) from None
        with torch.inference_mode():
            probabilities = network(torch.from_numpy(to_input(picture))[None]).softmax(dim=1)[0]
        best = int(probabilities.argmax())
        return Answer(prediction=str(best), probability=float(probabilities[best]))

    drift = {
        "reference": artefacts / REFERENCE,
        "window": WINDOW,
        "expected_run_length": EXPECTED_RUN_LENGTH,
        "seed": 0,
    }
    InferenceExporter(model="digits", drift=[drift]).watch(network).instrument(app).expose(app)
    return app


def main() -> None:
    """Train if need be, then serve."""
    parser = argparse.ArgumentParser(description="Serve the digits example.")
    add_address(parser)
    parser.add_argument("--artefacts", type=Path, default=BUILD, help="where train.py wrote its files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # pictures this small gain nothing from more
    ensure_trained(arguments.artefacts)
    serve(create_app(arguments.artefacts), arguments)


if __name__ == "__main__":
    main()
