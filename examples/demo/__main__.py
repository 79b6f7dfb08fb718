"""``python -m examples.demo``: watch a live model drift, and be told.

Ends with 0 if drift was found where there was drift and nowhere else, with 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from examples.demo.performance import Performance
from examples.demo.server import ServiceFailed
from examples.stack import StackFailed

OUTPUT = Path(__file__).parent / ".build"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="length of each phase (default: %(default)s)"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP", "") not in ("", "0"),
        help="leave the service up at the end, until Ctrl-C (also KEEP=1)",
    )
    parser.add_argument(
        "--stack", action="store_true", help="run Debian's Prometheus and Alertmanager beside it"
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of the live view")
    parser.add_argument("--port", type=int, default=0, help="port of the service (default: a free one)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the picture and the log go")
    return parser.parse_args()


async def _perform(arguments: argparse.Namespace, console: Console) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    performance = Performance(
        console,
        seconds=arguments.seconds,
        port=arguments.port,
        output=arguments.output,
        live=console.is_terminal and not arguments.plain,
        keep=arguments.keep,
        stack=arguments.stack,
    )
    return await performance.run()


def main() -> int:
    """Run the demonstration and return its exit code."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        return asyncio.run(_perform(arguments, console))
    except (ServiceFailed, StackFailed) as error:
        console.print(f"[red]failed:[/] {escape(str(error))}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\nstopped; nothing is left running")
        return 130


if __name__ == "__main__":
    sys.exit(main())
