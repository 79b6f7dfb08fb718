"""The service: ``python -m examples.wine.service``, then POST 13 numbers to /predict.

What the exporter shall read is said in ``config.yaml``; the handler knows nothing of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.limits import BodyLimit
from examples.serving import add_address, serve
from examples.wine.data import load_halves
from exporter import InferenceExporter

CONFIG = Path(__file__).parent / "config.yaml"
MAX_BODY_BYTES = 64 * 1024
FEATURES = 13


class Question(BaseModel):
    """A chemical analysis, in the order and units of scikit-learn's ``load_wine``."""

    model_config = ConfigDict(strict=True)

    features: list[float] = Field(min_length=FEATURES, max_length=FEATURES)


class Answer(BaseModel):
    """The cultivar, and how sure the model is: 0 to 1."""

    prediction: str
    probability: float


def train() -> Pipeline:
    """Fit the model. It takes milliseconds, so it is not stored: no file, and nothing to unpickle."""
    wines, _ = load_halves()
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(wines.features, wines.labels)


def create_app() -> FastAPI:
    """Train, and build the app."""
    model = train()
    names = load_halves()[0].class_names
    app = FastAPI(title="wine")
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)

    @app.post("/predict")
    def predict(question: Question) -> Answer:
        # Not in Question: FastAPI puts the refused value into its answer, and JSON has no infinity.
        if not np.isfinite(question.features).all():
            raise HTTPException(422, "features must be finite numbers")
        probabilities = model.predict_proba(np.asarray([question.features]))[0]
        best = int(np.argmax(probabilities))
        return Answer(prediction=names[best], probability=float(probabilities[best]))

    InferenceExporter(CONFIG).instrument(app).expose(app)
    return app


def main() -> None:
    """Train and serve."""
    parser = argparse.ArgumentParser(description="Serve the wine example.")
    add_address(parser)
    serve(create_app(), parser.parse_args())


if __name__ == "__main__":
    main()
