"""The models that can embed: ONNX, TorchScript, and torchvision's architectures.

None of them runs Python out of a file: ONNX is a graph of known operators, and weights are read with
``weights_only`` (or as safetensors), which refuses any other pickled object. TorchScript is a program,
in a language of torch's own; it is no sandbox, so take such a file only from who may run code here, and
pin its ``sha256``.
"""

from __future__ import annotations

import difflib
import importlib
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.arrays import on_host
from exporter.config import EmbedderConfig
from exporter.embedders.torchvision_ops import import_torchvision
from exporter.errors import ConfigError

Run = Callable[[npt.NDArray[np.float32]], Any]


def load_onnx(config: EmbedderConfig) -> Run:
    """An ONNX model through onnxruntime; on the GPU where its build and the machine have one."""
    onnxruntime = _needed("onnxruntime", config, "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the worker must not take the service's cores
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if config.device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    elif config.device.startswith("cuda"):
        fix = "install onnxruntime-gpu, or set device: auto"
        raise wrong("device", f"onnxruntime has no {config.device!r} here; {fix}")
    try:
        session = onnxruntime.InferenceSession(str(config.path), options, providers=providers)
    except Exception as error:
        raise _unloadable(config, "an ONNX model", error) from None
    inputs = session.get_inputs()
    if len(inputs) != 1:
        given = ", ".join(item.name for item in inputs)
        raise wrong("path", f"{config.path} takes {len(inputs)} inputs ({given}); it must take one")
    names = [item.name for item in session.get_outputs()]
    output = config.output or names[0]
    if output not in names:
        known = ", ".join(names)
        raise wrong("output", f"{output!r} is not an output of {config.path}; its outputs are {known}")
    if inputs[0].type != "tensor(float)":
        raise wrong("path", f"{config.path} takes {inputs[0].type}; it must take tensor(float)")
    name, one_by_one = inputs[0].name, inputs[0].shape[:1] == [1]

    def run(batch: npt.NDArray[np.float32]) -> Any:
        parts = np.split(batch, len(batch)) if one_by_one else [batch]
        return np.concatenate([session.run([output], {name: part})[0] for part in parts])

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
    return _torch_run(torch, module, device)


def load_torchvision(config: EmbedderConfig) -> Run:
    """A torchvision architecture with weights out of a file; the output of ``layer`` is the embedding."""
    torch = _needed("torch", config, "vision")
    models = _needed("torchvision", config, "vision").models
    architecture, layer = config.architecture or "", config.layer or ""
    known = models.list_models()
    if architecture not in known:
        meant = " or ".join(difflib.get_close_matches(architecture, known, n=3, cutoff=0.4)) or "mobilenet_v2"
        raise wrong("architecture", f"{architecture!r} is not one of torchvision's; did you mean {meant}?")
    device = _device(torch, config)
    model = models.get_model(architecture, weights=None, num_classes=config.classes)
    weights = _read_weights(torch, config)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        wanted = f"the weights of {architecture} with {config.classes} classes"
        fix = "correct architecture or classes"
        raise wrong("path", f"{config.path} are not {wanted} ({reason(error, line=1)}); {fix}") from None
    model = model.to(device).eval()
    try:
        submodule = model.get_submodule(layer)
    except AttributeError:
        names = ", ".join(name for name, _ in model.named_children())
        message = f"{layer!r} is not a submodule of {architecture}; its uppermost ones are {names}"
        raise wrong("layer", message) from None
    captured: dict[str, Any] = {}
    submodule.register_forward_hook(lambda _module, _inputs, output: captured.update(output=output))

    def forward(images: Any) -> Any:
        model(images)
        return captured.pop("output")

    return _torch_run(torch, forward, device)


BACKENDS: dict[str, Callable[[EmbedderConfig], Run]] = {
    "onnx": load_onnx,
    "torchscript": load_torchscript,
    "torchvision": load_torchvision,
}


def wrong(key: str, message: str) -> ConfigError:
    """The error for a setting of ``capture.embedder``, or for what it points at."""
    return ConfigError(f"capture.embedder.{key}: {message}")


def reason(error: Exception, line: int = 0) -> str:
    """One line of a library's message, the first where it has no such line, or else the error's type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[line if line < len(lines) else 0].strip()[:200]


def _torch_run(torch: Any, forward: Callable[[Any], Any], device: Any) -> Run:
    def run(batch: npt.NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            output = forward(torch.from_numpy(batch).to(device))
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"the output is a {type(output).__name__}, not a tensor")
        return on_host(output.float())

    return run


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
        found = f"{config.path} holds more than weights, or no weights at all"
        fix = "save the model's state_dict() alone, or as safetensors"
        raise wrong("path", f"{found}; loading it could run code, so it was refused; {fix}") from None
    except Exception as error:
        raise _unloadable(config, "a file of weights", error) from None
    nested = weights.get("state_dict") if isinstance(weights, dict) else None
    return nested if isinstance(nested, dict) else weights


def _device(torch: Any, config: EmbedderConfig) -> Any:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise wrong("device", f"torch has no {config.device!r} here; set device: auto or cpu")
    return torch.device(config.device)


def _needed(module: str, config: EmbedderConfig, extra: str) -> Any:
    try:
        return import_torchvision() if module == "torchvision" else importlib.import_module(module)
    except ImportError:
        fix = f"install inference-exporter[{extra}]"
        raise wrong("kind", f"{config.kind!r} needs {module}, which is not installed; {fix}") from None


def _unloadable(config: EmbedderConfig, what: str, error: Exception) -> ConfigError:
    return wrong("path", f"{config.path} is not {what} that can be loaded ({reason(error)})")
