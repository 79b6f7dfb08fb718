"""Artefacts of the digits example, trained once and briefly; and real servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import uvicorn

from examples.digits.service import EXPECTED_RUN_LENGTH, WINDOW
from examples.digits.train import REFERENCE, Trained, train
from exporter.detectors.mmd.online import OnlineMMD


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(tmp_path_factory.mktemp("digits"), seed=0, epochs=15)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def artefacts(trained: Trained) -> Path:
    return trained.weights.parent


@pytest.fixture(scope="session")
def digits_detector(artefacts: Path) -> OnlineMMD:
    """The detector of the digits service; to be reset before use."""
    with np.load(artefacts / REFERENCE, allow_pickle=False) as file:
        return OnlineMMD.fit(
            file["reference"], window=WINDOW, expected_run_length=EXPECTED_RUN_LENGTH, seed=0
        )


@contextmanager
def serving(app: Any) -> Iterator[httpx.Client]:
    """A real server for an app, in a thread, and a client for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture(scope="session", name="serving")
def serving_fixture() -> Callable[[Any], AbstractContextManager[httpx.Client]]:
    return serving
