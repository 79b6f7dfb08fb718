"""Where arrays live: NumPy in main memory, or torch on one of its devices.

No other file takes an array from one to the other.
Devices are named as in :meth:`OnlineMMD.fit`: ``"cpu"`` is NumPy, anything else torch, with
``"torch:cpu"`` for torch in main memory.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from array_api_compat import is_torch_array
from numpy.typing import NDArray

from exporter.errors import ConfigError, InvalidEmbedding


def resolve_device(device: str, reference: Any) -> str:
    """The device to use for ``device`` as :meth:`OnlineMMD.fit` takes it; a ConfigError if there is none."""
    if device == "cpu":
        return device
    if device == "auto":
        if is_torch_array(reference) and reference.device.type == "cuda":
            return str(reference.device)
        # Looking for CUDA must not cost the import of torch where nobody uses it.
        torch = sys.modules.get("torch")
        return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
    library = _torch(device)
    try:
        library.empty(0, device=device.removeprefix("torch:"))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: {device!r} is not there ({error}); give 'auto' or 'cpu'") from error
    return device


def check_device(device: str) -> None:
    """Raise a ConfigError if a device is not there, without beginning to use it.

    In a process that forks, CUDA would be lost to the children.
    """
    name, _, number = device.removeprefix("torch:").partition(":")
    if name == "cuda" and int(number or 0) >= (count := _torch(device).cuda.device_count()):
        raise ConfigError(f"device: {device!r} is not there (there are {count}); give 'auto' or 'cpu'")


def _torch(device: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f"device: {device!r} needs torch; install it, or give 'auto' or 'cpu'") from error
    return torch


def to_device(array: NDArray[Any], device: str) -> Any:
    """A NumPy array as an array of the engine's library, on its device."""
    if device == "cpu":
        return array
    import torch

    return torch.as_tensor(array, device=device.removeprefix("torch:"))


def place(batch: Any, device: str) -> Any:
    """The batch as an array of the engine's library, on its device; an InvalidEmbedding if it is no array."""
    try:
        if device == "cpu":
            return on_host(batch)
        import torch

        if not is_torch_array(batch):
            batch = torch.as_tensor(np.asarray(batch))
    except (TypeError, ValueError) as error:
        raise InvalidEmbedding(f"embedding: {error}; give real numbers of equal length") from error
    return detached(batch).to(device.removeprefix("torch:"))


def on_host(array: Any) -> NDArray[Any]:
    """Any array as a NumPy array, without a copy where possible.

    Torch's narrow floats, of which NumPy lacks one, become float32.
    """
    if type(array) is np.ndarray:
        return array
    if not is_torch_array(array):
        return np.asarray(array)
    array = detached(array).cpu()
    if array.is_floating_point() and array.element_size() < 4:
        array = array.float()
    return np.asarray(array.numpy())


def detached(tensor: Any) -> Any:
    """A torch tensor without the graph that made it, on its own device; it shares the tensor's memory."""
    return tensor.detach()
