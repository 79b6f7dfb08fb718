"""Embeddings out of the live torch module: a forward hook, and no second forward pass.

The hook takes a detached copy of a layer's input or output and puts it, one row for each sample, into the
request that the code runs for. What is in main memory becomes float32 there and then; on a device a copy
stays where it is until the response is through, since to fetch it is to wait for the device. (Rows of a pass
that runs for no request are handed over at once.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from exporter.arrays import detached
from exporter.errors import ConfigError
from exporter.receivers.asgi.context import open_exchange
from exporter.receivers.plain import float32, kept_on_device, on_device


class ModuleWatch:
    """A hook on a ``torch.nn.Module``; :meth:`remove` takes it off again.

    Parameters
    ----------
    module
        The live model.
    layer
        Name of a submodule (as in ``named_modules()``), whose output is the embedding. None takes
        the input of the last linear layer, the classifier's head: what the model knows before it
        decides.
    without_request
        Takes the (n, d) rows of a forward pass that runs outside of any request (a batching thread, say).
    on_error
        Called inside the ``except`` block of any failure of ours.

    Raises
    ------
    ConfigError
        If there is no such layer, or ``layer`` is None and there is no linear one.
    """

    def __init__(
        self,
        module: Any,
        layer: str | None,
        *,
        without_request: Callable[[Any], None],
        on_error: Callable[[], None],
    ) -> None:
        self._without_request = without_request
        self._on_error = on_error
        self.active = True
        if layer is None:
            head = _head(module)
            self._handle = head.register_forward_pre_hook(lambda _, args: self._take(args and args[0]))
        else:
            submodule = _submodule(module, layer)
            self._handle = submodule.register_forward_hook(lambda _module, _args, output: self._take(output))

    def remove(self) -> None:
        """Take the hook off; the module is then as it was, and another one can be watched."""
        self.active = False
        self._handle.remove()

    def _take(self, tensor: Any) -> None:
        try:
            rows = _kept(embedding_rows(tensor))
            exchange = open_exchange()
            if exchange is not None:
                exchange.add_embeddings(rows)
            else:
                self._without_request(rows)
        except Exception:
            self._on_error()


def embedding_rows(tensor: Any) -> Any:
    """(n, d) of a layer's activations, detached, on their own device; they may share its memory.

    (n, d) stays as it is; (n, t, d), tokens, is averaged over t; (n, c, h, w) and (n, c, t, h, w),
    feature maps, are averaged over space and time; (d,) is one sample. Model outputs give their
    ``last_hidden_state`` or ``logits``, tuples their first item.
    """
    if hasattr(tensor, "last_hidden_state"):
        tensor = tensor.last_hidden_state
    elif hasattr(tensor, "logits"):
        tensor = tensor.logits
    elif isinstance(tensor, tuple | list):
        tensor = tensor[0]
    tensor = detached(tensor)
    if tensor.ndim == 3:
        return tensor.mean(dim=1)
    if tensor.ndim > 3:
        return tensor.flatten(2).mean(dim=2)
    return tensor[None] if tensor.ndim == 1 else tensor


def _kept(rows: Any) -> Any:
    """A copy, because layers that follow may work in place: float32 in main memory, or on the device."""
    if getattr(rows, "is_cpu", False):
        try:
            plain = rows.numpy()
        except (RuntimeError, TypeError):  # of a kind that numpy has not
            plain = None
        # What most models have needs no second look: all of this is within the forward pass.
        if plain is not None and plain.dtype == np.float32:
            return plain.copy()
    if on_device(rows):
        return kept_on_device(rows)
    array = float32(rows)
    return rows.clone() if array is None else array.copy()


def _head(module: Any) -> Any:
    """The last linear layer: not by its class, so that torch need not be imported here."""
    modules = module.modules()
    linear = [each for each in modules if hasattr(each, "in_features") and hasattr(each, "out_features")]
    if not linear:
        raise ConfigError(
            f"watch: {type(module).__name__} has no linear layer; "
            f"name the layer whose output is the embedding, one of {_names(module)}"
        )
    return linear[-1]


def _submodule(module: Any, layer: str) -> Any:
    children = dict(module.named_modules())
    if layer not in children:
        raise ConfigError(f"watch: layer {layer!r} is not in the module; give one of {_names(module)}")
    return children[layer]


def _names(module: Any) -> str:
    return ", ".join(repr(name) for name, _ in module.named_modules() if name)
