"""The tutorial's service, written anew: a food classifier behind FastAPI with an Instrumentator of its own.

``ONE_LINE`` says where the one line stands: ``before`` the Instrumentator's, ``after`` or ``instead`` of it,
or nowhere. With ``BY_HAND`` the service also defines and counts the metrics that the tutorial has its reader
add, which have names of ours; ``APART`` gives the exporter a registry and a path of its own.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI, HTTPException
from PIL import Image
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, Field
from torch import nn

from exporter import InferenceExporter

CLASSES = (
    *("Bread", "Dairy product", "Dessert", "Egg", "Fried food", "Meat"),
    *("Noodles/Pasta", "Rice", "Seafood", "Soup", "Vegetable/Fruit"),
)
SIZE = 224
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageRequest(BaseModel):
    """An image, as base64."""

    image: str


class PredictionResponse(BaseModel):
    """The class that the model thinks most likely."""

    prediction: str
    probability: float = Field(ge=0, le=1)


def make_model() -> nn.Module:
    """Eleven classes told apart by the colours of a few large patches; random weights, always the same."""
    torch.manual_seed(11)
    layers = nn.Sequential(nn.AvgPool2d(SIZE // 4), nn.Flatten(), nn.Linear(48, 32), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(32, len(CLASSES))).eval()


def preprocess(image: Image.Image) -> torch.Tensor:
    """A batch of one image, float32 of shape (1, 3, 224, 224), normalised as ImageNet's are."""
    pixels = np.asarray(image.resize((SIZE, SIZE)), dtype=np.float32) / 255
    return torch.from_numpy(((pixels - MEAN) / SPREAD).astype(np.float32)).permute(2, 0, 1).unsqueeze(0)


class ByHand:
    """What the tutorial adds for predictions and for drift."""

    def __init__(self) -> None:
        tenths = [n / 10 for n in range(11)]
        self.confidence = Histogram("prediction_confidence", "Model prediction confidence", buckets=tenths)
        self.classes = Counter("predicted_class_total", "Count of predictions per class", ["class_name"])
        Counter("drift_events_total", "Total number of drift events detected")
        Histogram("drift_test_stat", "Drift score distribution")


def create_app() -> FastAPI:
    """The service."""
    app = FastAPI(title="Food Classification API", version="1.0.0")
    model = make_model()
    by_hand = ByHand() if os.environ.get("BY_HAND") else None

    @app.post("/predict")
    def predict_image(request: ImageRequest) -> PredictionResponse:
        try:
            image = Image.open(io.BytesIO(base64.b64decode(request.image, validate=True))).convert("RGB")
        except (binascii.Error, OSError) as error:
            raise HTTPException(400, "not an image in base64") from error
        with torch.no_grad():
            probabilities = torch.softmax(model(preprocess(image)), dim=1)[0]
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        if by_hand is not None:
            by_hand.confidence.observe(confidence)
            by_hand.classes.labels(class_name=CLASSES[best]).inc()
        return PredictionResponse(prediction=CLASSES[best], probability=confidence)

    where = os.environ.get("ONE_LINE", "no")
    if where == "before":
        the_one_line(app)
    if where != "instead":
        Instrumentator().instrument(app).expose(app)
    if where in ("after", "instead"):
        the_one_line(app)
    return app


def the_one_line(app: Any) -> None:
    """What is added to the service."""
    if os.environ.get("APART"):
        apart = InferenceExporter(model="food11", registry=CollectorRegistry())
        apart.instrument(app).expose(app, endpoint="/inference-metrics")
    else:
        InferenceExporter(model="food11").instrument(app).expose(app)


app = create_app()
