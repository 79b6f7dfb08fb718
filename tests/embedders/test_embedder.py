from __future__ import annotations

import base64
import hashlib
import os
import pickle
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import onnx
import orjson
import pytest
import torch
from onnx import TensorProto, helper

from exporter.config import EmbedderConfig
from exporter.embedders.embedder import Embedder, embedder_of
from exporter.errors import ConfigError
from exporter.http.exchange import Exchange
from tests.embedders.test_images import png

IMAGE = {"resize": 8, "crop": 8, "mean": [0.0], "std": [1.0]}


def onnx_file(
    folder: Path, *, batch="n", side=8, outputs=("pooled",), flatten=True, dtype=TensorProto.FLOAT
) -> Path:
    """A model that averages each channel: the embedding of a picture is its mean colour."""
    image = helper.make_tensor_value_info("image", dtype, [batch, 3, side, side])
    first = "GlobalAveragePool" if dtype == TensorProto.FLOAT else "Identity"
    nodes = [helper.make_node(first, ["image"], ["means"])]
    declared = []
    for name in outputs:
        nodes.append(helper.make_node("Flatten" if flatten else "Identity", ["means"], [name]))
        declared.append(helper.make_tensor_value_info(name, dtype, None))
    graph = helper.make_graph(nodes, "g", [image], declared)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


class Means(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


class Pair(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


def torchscript_file(folder: Path, module: torch.nn.Module) -> Path:
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)
    return path


def config(kind: str, path: Path, **more: object) -> EmbedderConfig:
    return EmbedderConfig.model_validate({"kind": kind, "path": path, "image": IMAGE, **more})


def asked(body: bytes) -> Exchange:
    made = Exchange(
        "POST", "/p", b"", ((b"content-type", b"image/png"),), max_body_bytes=1 << 20, started=0.0
    )
    made.request_chunk(body)
    return made


def posted(document: object) -> Exchange:
    made = Exchange("POST", "/p", max_body_bytes=1 << 20, started=0.0)
    made.request_chunk(orjson.dumps(document))
    return made


def run_out_of_memory() -> np.ndarray:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("kind", ["onnx", "onnx-batch-1", "onnx-maps", "torchscript"])
def test_images_become_embeddings_in_batches(tmp_path, kind):
    if kind == "torchscript":
        settings = config("torchscript", torchscript_file(tmp_path, Means()), max_batch=4, length=3)
    else:
        batch = 1 if kind == "onnx-batch-1" else "n"
        path = onnx_file(tmp_path, batch=batch, flatten=kind != "onnx-maps")
        settings = config("onnx", path, max_batch=4, length=3)
    embedder = Embedder(settings)
    assert embedder.length == 3
    exchanges = [asked(png(color=(20 * index, 255, 0))) for index in range(11)]
    assert embedder.attach(exchanges) == 0
    for index, made in enumerate(exchanges):
        ((row,),) = made.embeddings
        np.testing.assert_allclose(row, [20 * index / 255, 1.0, 0.0], atol=1e-6)


def test_a_bad_image_costs_its_own_exchange_only(tmp_path):
    embedder = Embedder(config("onnx", onnx_file(tmp_path)))
    known = asked(png())
    known.add_embeddings(np.ones((1, 2)))
    exchanges = [asked(png()), asked(b"not a picture"), known, asked(b"")]
    assert embedder.attach(exchanges) == 1
    assert len(exchanges[0].embeddings) == 1
    assert exchanges[1].embeddings is None
    assert exchanges[2].embeddings[0].shape == (1, 2)
    assert exchanges[3].embeddings is None
    assert embedder.attach([]) == 0


def test_a_torchvision_layer_with_weights_from_a_file(tmp_path):
    from exporter.embedders.torchvision_ops import import_torchvision

    torch.manual_seed(1)
    models = import_torchvision().models
    model = models.get_model("squeezenet1_1", weights=None, num_classes=5).eval()
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    more = {
        "architecture": "squeezenet1_1",
        "layer": "features",
        "classes": 5,
        "image": {"resize": 64, "crop": 64},
    }
    embedder = Embedder(config("torchvision", path, **more))
    assert embedder.length == 512
    inputs = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = model.features(torch.from_numpy(inputs)).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(embedder.embed(inputs), expected, rtol=1e-4, atol=1e-6)

    for change, message in (
        ({"classes": 7}, "are not the weights of squeezenet1_1 with 7 classes"),
        (
            {"layer": "nose"},
            "'nose' is not a submodule of squeezenet1_1; its uppermost ones are features, classifier",
        ),
        ({"architecture": "squeezenet1_2"}, "did you mean squeezenet1_1"),
        ({"sha256": "0" * 64}, "is not the digest of"),
        ({"length": 9}, "embeddings of length 512; correct it"),
    ):
        with pytest.raises(ConfigError, match=message):
            Embedder(config("torchvision", path, **{**more, **change}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert Embedder(config("torchvision", path, **{**more, "sha256": digest})).length == 512


class Bomb:
    """What runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("kind", ["torchvision", "torchscript", "onnx"])
@pytest.mark.parametrize("saved_by", ["torch", "pickle"])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(tmp_path, kind, saved_by):
    canary, path = tmp_path / "canary", tmp_path / "bomb.pt"
    if saved_by == "torch":
        torch.save({"weight": Bomb(canary)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(ConfigError, match=r"capture\.embedder\.path"):
        Embedder(config(kind, path, architecture="squeezenet1_1", layer="features"))
    assert not canary.exists()
    if saved_by == "pickle":  # the bomb is live: unpickled, it goes off
        pickle.loads(path.read_bytes())
        assert canary.exists()


def test_an_onnx_model_that_is_not_what_the_config_says(tmp_path):
    path = onnx_file(tmp_path, outputs=("a", "b"))
    assert Embedder(config("onnx", path, output="b")).length == 3
    with pytest.raises(ConfigError, match=r"'c' is not an output of .*; its outputs are a, b"):
        Embedder(config("onnx", path, output="c"))
    with pytest.raises(ConfigError, match=r"embedder\.length: 7 is not what .* embeddings of length 3"):
        Embedder(config("onnx", path, length=7))
    with pytest.raises(ConfigError, match=r"cannot embed images of shape \(3, 4, 4\)"):
        Embedder(config("onnx", path, image={"resize": 4, "crop": 4}))
    with pytest.raises(ConfigError, match=r"takes tensor\(double\); it must take tensor\(float\)"):
        Embedder(config("onnx", onnx_file(tmp_path, dtype=TensorProto.DOUBLE)))


def test_files_that_cannot_serve_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="is not a file"):
        Embedder(config("onnx", tmp_path / "nothing.onnx"))
    with pytest.raises(ConfigError, match="the output is a tuple, not a tensor"):
        Embedder(config("torchscript", torchscript_file(tmp_path, Pair())))
    with pytest.raises(ConfigError, match="device"):
        Embedder(config("onnx", onnx_file(tmp_path), device="cuda:7"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError, match=r"needs onnxruntime, which is not installed; install inference-exporter"
    ):
        Embedder(config("onnx", onnx_file(tmp_path)))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "torchvision", "path": "x"}, "kind: torchvision needs it"),
        ({"kind": "onnx", "path": "x", "image": {"std": [0.0]}}, "a standard deviation is above 0"),
        ({"kind": "onnx", "path": "x", "image": {"mean": [0.0, 1.0]}}, "needs 1 number or 3"),
        ({"kind": "onnx", "path": "x", "image": {"resize": 8}}, "at least crop"),
    ],
)
def test_settings_that_break_a_rule(section, message):
    with pytest.raises(ValueError, match=message):
        EmbedderConfig.model_validate(section)


def test_many_small_images_are_unpacked_a_batch_at_a_time(tmp_path):
    """256 images of one pixel are 23 KiB, and 150 MiB once all of them are prepared."""
    path = onnx_file(tmp_path, side=224)
    image = {"max_images": 256, "mean": [0.0], "std": [1.0]}
    embedder = Embedder(config("onnx", path, max_batch=8, image=image))
    text = base64.b64encode(png(1, 1, color=(255, 0, 0))).decode()
    exchanges = [posted({"images": [text] * 256}), posted({"image": text})]
    tracemalloc.start()
    try:
        assert embedder.attach(exchanges) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(made.embeddings[0]) for made in exchanges] == [256, 1]
    np.testing.assert_allclose(exchanges[0].embeddings[0], [[1.0, 0.0, 0.0]] * 256)
    assert peak < 8 * 2 * 3 * 224 * 224 * 4 + 4 * 1024 * 1024


def test_a_request_of_too_many_images_is_not_embedded(tmp_path):
    image = {**IMAGE, "max_images": 2}
    embedder = Embedder(config("onnx", onnx_file(tmp_path), image=image))
    text = base64.b64encode(png()).decode()
    exchanges = [posted({"images": [text] * 3}), posted({"images": [text] * 2})]
    assert embedder.attach(exchanges) == 1
    assert exchanges[0].embeddings is None
    assert [len(block) for block in exchanges[1].embeddings] == [2]


def test_a_model_that_fails_costs_only_the_images_at_hand(tmp_path, monkeypatch, caplog):
    embedder = Embedder(config("onnx", onnx_file(tmp_path), max_batch=2))
    run = embedder.embed
    monkeypatch.setattr(
        embedder, "embed", lambda inputs: run(inputs) if len(inputs) < 2 else run_out_of_memory()
    )
    exchanges = [asked(png()) for _ in range(3)]
    assert embedder.attach(exchanges) == 2
    assert [made.embeddings is None for made in exchanges] == [True, True, False]
    assert "2 images could not be embedded" in caplog.text


def test_models_that_share_a_section_share_what_was_loaded(tmp_path: Path):
    settings = config("onnx", path := onnx_file(tmp_path))
    first = embedder_of(settings)
    assert embedder_of(config("onnx", path)) is first
    os.utime(path, (1.0, 1.0))  # another file, by all that can be told
    assert embedder_of(settings) is not first
    with pytest.raises(ConfigError):
        embedder_of(config("onnx", tmp_path / "none.onnx"))
