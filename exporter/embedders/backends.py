"""The kinds of model that can embed: ONNX, TorchScript, and torchvision's architectures.

None of them runs Python out of a file: ONNX is a graph of known operators, and weights are read with
``weights_only`` (or as safetensors), which refuses any other pickled object. TorchScript is a program,
in a language of torch's own; it is no sandbox, so take such a file only from who may run code here, and
pin its ``sha256``.
"""

from __future__ import annotations

import difflib
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.arrays import on_host
from exporter.config import EmbedderConfig
from exporter.errors import ConfigError

Run = Callable[[npt.NDArray[np.float32]], Any]

_KEY = "capture.embedder"


def load_onnx(config: EmbedderConfig) -> Run:
    """An ONNX model through onnxruntime; on the GPU where its build and the machine have one."""
    onnxruntime = _needed("onnxruntime", config, "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the worker must not take the service's cores
    options.log_severity_level = 3
    wanted = ["CPUExecutionProvider"]
    if config.device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        wanted.insert(0, "CUDAExecutionProvider")
    elif config.device.startswith("cuda"):
        raise ConfigError(
            f"{_KEY}.device: {config.device!r} is not at hand for onnxruntime; "
            "install onnxruntime-gpu, or set device: auto"
        )
    try:
        session = onnxruntime.InferenceSession(str(config.path), options, providers=wanted)
    except Exception as error:
        raise _unloadable(config, "an ONNX model", error) from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        given = ", ".join(item.name for item in inputs)
        raise ConfigError(
            f"{_KEY}.path: {config.path} takes {len(inputs)} inputs ({given}); it must take one"
        )
    names = [item.name for item in outputs]
    output = config.output or names[0]
    if output not in names:
        raise ConfigError(
            f"{_KEY}.output: {output!r} is not an output of {config.path}; its outputs are {', '.join(names)}"
        )
    if inputs[0].type != "tensor(float)":
        raise ConfigError(f"{_KEY}.path: {config.path} takes {inputs[0].type}; it must take tensor(float)")
    name, fixed = inputs[0].name, inputs[0].shape[:1]

    def run(batch: npt.NDArray[np.float32]) -> Any:
        if fixed == [1]:  # exported for one image at a time
            return np.concatenate(
                [session.run([output], {name: batch[i : i + 1]})[0] for i in range(len(batch))]
            )
        return session.run([output], {name: batch})[0]

    return run


def load_torchscript(config: EmbedderConfig) -> Run:
    """A TorchScript file; its ``forward`` takes the batch and returns the embeddings."""
    torch = _needed("torch", config, "torch")
    device = _device(torch, config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(config.path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise _unloadable(config, "a TorchScript file", error) from None

    def run(batch: npt.NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            output = module(torch.from_numpy(batch).to(device))
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"the output is a {type(output).__name__}, not a tensor")
        return on_host(output.float())

    return run


def load_torchvision(config: EmbedderConfig) -> Run:
    """A torchvision architecture with weights out of a file; the output of ``layer`` is the embedding."""
    torch = _needed("torch", config, "vision")
    from exporter.embedders.torchvision_ops import import_torchvision

    try:
        models = import_torchvision().models
    except ImportError:
        raise _missing("torchvision", config, "vision") from None
    architecture, layer = config.architecture or "", config.layer or ""
    known = models.list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.4)
        raise ConfigError(
            f"{_KEY}.architecture: {architecture!r} is not one of torchvision's; "
            f"did you mean {' or '.join(near) or 'mobilenet_v2'}?"
        )
    device = _device(torch, config)
    model = models.get_model(architecture, weights=None, num_classes=config.classes)
    weights = _read_weights(torch, config)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        lines = str(error).strip().splitlines()
        raise ConfigError(
            f"{_KEY}.path: {config.path} are not the weights of {architecture} with {config.classes} classes "
            f"({' '.join(lines[1:2] or lines)[:200].strip()}); correct architecture or classes"
        ) from None
    model = model.to(device).eval()
    try:
        submodule = model.get_submodule(layer)
    except AttributeError:
        names = ", ".join(name for name, _ in model.named_children())
        raise ConfigError(
            f"{_KEY}.layer: {layer!r} is not a submodule of {architecture}; its uppermost ones are {names}"
        ) from None
    captured: list[Any] = []
    submodule.register_forward_hook(lambda _module, _inputs, output: captured.append(output))

    def run(batch: npt.NDArray[np.float32]) -> Any:
        captured.clear()
        with torch.inference_mode():
            model(torch.from_numpy(batch).to(device))
        output = captured[-1]
        captured.clear()
        return on_host(output.float())

    return run


BACKENDS: dict[str, Callable[[EmbedderConfig], Run]] = {
    "onnx": load_onnx,
    "torchscript": load_torchscript,
    "torchvision": load_torchvision,
}


def _read_weights(torch: Any, config: EmbedderConfig) -> Any:
    if config.path.suffix == ".safetensors":
        safetensors = _needed("safetensors.torch", config, "vision")
        try:
            return safetensors.load_file(str(config.path))
        except Exception as error:
            raise _unloadable(config, "a safetensors file", error) from None
    try:
        weights = torch.load(str(config.path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ConfigError(
            f"{_KEY}.path: {config.path} holds more than weights, or no weights at all; loading it could run "
            "code, so it was refused; save the model's state_dict() alone, or as safetensors"
        ) from None
    except Exception as error:
        raise _unloadable(config, "a file of weights", error) from None
    if isinstance(weights, dict) and isinstance(weights.get("state_dict"), dict):
        return weights["state_dict"]
    return weights


def _device(torch: Any, config: EmbedderConfig) -> Any:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"{_KEY}.device: {config.device!r} is not at hand; set device: auto or cpu")
    return torch.device(config.device)


def _needed(module: str, config: EmbedderConfig, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise _missing(module, config, extra) from None


def _missing(module: str, config: EmbedderConfig, extra: str) -> ConfigError:
    return ConfigError(
        f"{_KEY}.kind: {config.kind!r} needs {module}, which is not installed; "
        f"install inference-exporter[{extra}]"
    )


def _unloadable(config: EmbedderConfig, what: str, error: Exception) -> ConfigError:
    lines = str(error).strip().splitlines()
    reason = lines[0][:200] if lines else type(error).__name__
    return ConfigError(f"{_KEY}.path: {config.path} is not {what} that can be loaded ({reason})")
