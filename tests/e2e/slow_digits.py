"""The digits service, made slow on demand: a request with ``x-delay: 0.6`` waits that many seconds."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import torch
import uvicorn

from examples.digits.service import create_app


class Slow:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope.get("headers", ()):
            if name == b"x-delay":
                await asyncio.sleep(float(value))
        await self.app(scope, receive, send)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    torch.set_num_threads(1)
    uvicorn.run(
        Slow(create_app()),
        host="127.0.0.1",
        port=parser.parse_args().port,
        log_level="warning",
        access_log=False,
    )
