"""Embeddings from the live forward pass: one pass, the right rows, the right request."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from exporter.errors import ConfigError
from exporter.http.exchange import Exchange
from exporter.receivers.asgi.context import current_exchange
from exporter.receivers.asgi.torch_hook import ModuleWatch, embedding_rows


class Network(nn.Module):
    """Counts its own passes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)
        self.passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return self.head(torch.tanh(self.body(x)))


@pytest.fixture
def orphans() -> list[list[torch.Tensor]]:
    return []


@pytest.fixture
def errors() -> list[None]:
    return []


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def joined(exchange: Exchange) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(exchange.embeddings or ()))


def watch(module: Any, layer: str | None, orphans: list[Any], errors: list[Any]) -> ModuleWatch:
    return ModuleWatch(module, layer, without_request=orphans.append, on_error=lambda: errors.append(None))


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    made = Exchange("POST", "/predict", max_body_bytes=1000, started=0.0)
    token = current_exchange.set(made)
    yield made
    current_exchange.reset(token)


def test_the_head_s_input_is_taken_in_the_one_pass(
    network: Network, orphans: list[Any], errors: list[Any], exchange: Exchange
):
    x = torch.randn(5, 3)
    expected = torch.tanh(network.body(x))
    bare = network(x)
    network.passes = 0
    handle = watch(network, None, orphans, errors)
    assert torch.equal(network(x), bare)
    assert network.passes == 1
    assert exchange.embeddings is not None
    assert torch.equal(joined(exchange), expected)
    assert all(type(block) is np.ndarray and block.dtype == np.float32 for block in exchange.embeddings)
    assert (orphans, errors) == ([], [])
    handle.remove()
    network(x)
    assert sum(map(len, exchange.embeddings)) == 5
    assert not handle.active


def test_a_named_layer_gives_its_output(
    network: Network, orphans: list[Any], errors: list[Any], exchange: Exchange
):
    watch(network, "body", orphans, errors)
    x = torch.randn(2, 3)
    network(x)
    assert exchange.embeddings is not None
    assert torch.equal(joined(exchange), network.body(x).detach())


def test_a_module_that_is_not_watched_has_no_hooks(network: Network, orphans: list[Any], errors: list[Any]):
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())

    assert hooks() == 0
    handle = watch(network, None, orphans, errors)
    assert hooks() == 1
    handle.remove()
    assert hooks() == 0


def test_layers_that_work_in_place_afterwards_do_not_reach_the_copy(
    orphans: list[Any], errors: list[Any], exchange: Exchange
):
    body = nn.Linear(3, 4)
    module = nn.Sequential(body, nn.ReLU(inplace=True), nn.Linear(4, 2))
    watch(module, "0", orphans, errors)
    x = torch.randn(6, 3)
    with torch.no_grad():
        expected = body(x).clone()
        exchange.embeddings = None
        module(x)
    assert (expected < 0).any()
    assert exchange.embeddings is not None
    assert torch.equal(joined(exchange), expected)


def test_without_a_request_the_rows_go_elsewhere(network: Network, orphans: list[Any], errors: list[Any]):
    watch(network, None, orphans, errors)
    network(torch.randn(3, 3))
    assert [len(rows) for rows in orphans] == [3]


def test_after_the_response_was_sent_the_rows_go_elsewhere_too(
    network: Network, orphans: list[Any], errors: list[Any], exchange: Exchange
):
    watch(network, None, orphans, errors)
    exchange.finish(1.0)
    network(torch.randn(3, 3))
    assert ([len(rows) for rows in orphans], exchange.embeddings) == ([3], None)


def test_a_stream_without_an_end_holds_bounded_memory(
    network: Network, orphans: list[Any], errors: list[Any], exchange: Exchange
):
    watch(network, None, orphans, errors)
    for _ in range(1000):
        network(torch.randn(2, 3))
    assert exchange.embeddings is not None
    assert sum(block.nbytes for block in exchange.embeddings) <= exchange.max_body_bytes
    assert 2 * len(exchange.embeddings) + exchange.rows_left_out == 2000


def test_threads_each_get_their_own_embeddings(network: Network, orphans: list[Any], errors: list[Any]):
    watch(network, "body", orphans, errors)
    start = threading.Barrier(8)
    wrong: list[int] = []

    def serve(number: int) -> None:
        start.wait()
        for turn in range(30):
            x = torch.full((2, 3), float(number * 100 + turn))
            made = Exchange("POST", "/predict", max_body_bytes=1000, started=0.0)
            token = current_exchange.set(made)
            network(x)
            current_exchange.reset(token)
            with torch.no_grad():
                expected = nn.functional.linear(x, network.body.weight, network.body.bias)
            if made.embeddings is None or not torch.equal(joined(made), expected):
                wrong.append(number)

    threads = [
        threading.Thread(target=contextvars.Context().run, args=(serve, number)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, errors, orphans) == ([], [], [])


async def test_tasks_and_their_threads_each_get_their_own_embeddings(
    network: Network, orphans: list[Any], errors: list[Any]
):
    watch(network, "body", orphans, errors)

    async def serve(number: int, *, in_thread: bool) -> bool:
        made = Exchange("POST", "/predict", max_body_bytes=1000, started=0.0)
        current_exchange.set(made)
        x = torch.full((1, 3), float(number))
        await asyncio.sleep(0.001 * (number % 5))
        if in_thread:
            await asyncio.to_thread(network, x)
        else:
            network(x)
        await asyncio.sleep(0.001 * (number % 3))
        with torch.no_grad():
            expected = nn.functional.linear(x, network.body.weight, network.body.bias)
        return made.embeddings is not None and torch.equal(joined(made), expected)

    assert all(await asyncio.gather(*(serve(n, in_thread=n % 2 == 0) for n in range(60))))
    assert (orphans, errors) == ([], [])


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((4,), (1, 4)),
        ((3, 4), (3, 4)),
        ((3, 7, 4), (3, 4)),
        ((3, 4, 5, 5), (3, 4)),
        ((3, 4, 2, 5, 5), (3, 4)),
    ],
)
def test_activations_of_any_shape_become_rows(shape: tuple[int, ...], rows: tuple[int, ...]):
    assert tuple(embedding_rows(torch.ones(shape)).shape) == rows


def test_tokens_and_feature_maps_are_averaged():
    tokens = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    np.testing.assert_allclose(embedding_rows(tokens), tokens.mean(1))
    maps = torch.arange(48, dtype=torch.float32).reshape(2, 3, 2, 4)
    np.testing.assert_allclose(embedding_rows(maps), maps.mean((2, 3)))


def test_tuples_and_model_outputs_give_their_first_tensor():
    tensor = torch.randn(2, 3)
    assert torch.equal(embedding_rows((tensor, "more")), tensor)
    assert torch.equal(embedding_rows(SimpleNamespace(last_hidden_state=tensor)), tensor)
    assert torch.equal(embedding_rows(SimpleNamespace(logits=tensor)), tensor)


def test_an_output_that_is_no_tensor_is_counted_and_the_pass_goes_on(orphans: list[Any], errors: list[Any]):
    class Odd(nn.Module):
        def forward(self, x: Any) -> dict[str, Any]:
            return {"answer": x}

    module = nn.Sequential(Odd())
    watch(module, "0", orphans, errors)
    assert module("question") == {"answer": "question"}
    assert (len(errors), orphans) == (1, [])


def test_unknown_layers_and_headless_modules_are_refused(
    network: Network, orphans: list[Any], errors: list[Any]
):
    with pytest.raises(
        ConfigError, match=r"watch: layer 'tail' is not in the module; give one of 'body', 'head'"
    ):
        watch(network, "tail", orphans, errors)
    with pytest.raises(ConfigError, match=r"ReLU has no linear layer"):
        watch(nn.ReLU(), None, orphans, errors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_what_is_in_main_memory_is_float32_at_once(dtype: torch.dtype, exchange: Exchange, errors: list[Any]):
    module = nn.Sequential(nn.Identity())
    watch(module, "0", [], errors)
    given = torch.ones(2, 3, dtype=dtype)
    module(given)
    given[:] = 9
    (block,) = exchange.embeddings or ()
    assert (type(block), block.dtype, block.tolist()) == (np.ndarray, np.float32, [[1] * 3] * 2)
    assert errors == []


def test_what_is_on_a_device_stays_there(exchange: Exchange, errors: list[Any]):
    module = nn.Sequential(nn.Identity())
    watch(module, "0", [], errors)
    module(torch.ones(2, 3, device="meta"))
    (block,) = exchange.embeddings or ()
    assert block.device.type == "meta"
    assert errors == []
