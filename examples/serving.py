"""Run an example's app: on an address, or on a socket that the parent process has opened."""

from __future__ import annotations

import argparse

import uvicorn
from fastapi import FastAPI


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add ``--host``, ``--port`` and ``--fd``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument("--fd", type=int, help="number of an open listening socket, instead of a port")


def serve(app: FastAPI, arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    uvicorn.run(
        app, host=arguments.host, port=arguments.port, fd=arguments.fd, log_level="warning", access_log=False
    )
