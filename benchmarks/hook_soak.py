"""200,000 requests through the hook: is memory flat, and is every observation accounted for?

``.venv/bin/python -m benchmarks.hook_soak`` needs ``wrk``. The service of benchmarks/hook.py, drift on
every request, is loaded until it has answered them, scraped all the while. The second part does the
same to a queue of 20 items, which overflows, and the third kills the helper process during every second load.
Growth of memory is judged over eight loads at least: before, a queue that fills for the first time is growth.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from benchmarks.hook import LUA, PYTHONS, ROOT, SERVICE, load, service

MOST_GROWTH_MEGABYTES = 10.0
LEAST_LOADS = 8
PARTS = ("observations_total", "processed_total", "dropped_total", "sampled_out_total", "queued")


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def account(address: str) -> dict[str, float]:
    """The ledger as a scrape shows it."""
    text = urllib.request.urlopen(f"{address}/metrics", timeout=60).read().decode()
    return {
        part: sum(
            float(value)
            for value in re.findall(rf"^inference_exporter_{part}\{{.*\}} (\S+)$", text, re.MULTILINE)
        )
        for part in PARTS
    }


def kill(*pids: int) -> None:
    """Kill processes that may be gone already."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def exact(ledger: dict[str, float]) -> bool:
    """Whether everything observed is accounted for."""
    observed, *rest = (ledger[part] for part in PARTS)
    return observed == sum(rest)


def helpers(pid: int) -> list[int]:
    """The processes that a service has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in lists for child in children.read_text().split()]


def soak(name: str, folder: Path, requests: int, *, kills: bool = False) -> bool:
    """Load a fresh service until it has answered ``requests``; print what became of them."""
    memory: list[float] = []
    scrapes: list[bool] = []
    killed = 0
    with service("hook", folder) as (process, address):
        done = 0.0
        while done < requests:
            # One that was never ready is none to be replaced, so each gets the time to be.
            victims = helpers(process.pid) if kills and len(memory) % 2 else []
            killed += len(victims)
            killer = threading.Timer(1.0, kill, victims)
            killer.start()
            result = load(address, 2, folder / "post.lua")
            killer.join()
            done += result["requests"]
            scrapes.append(result["errors"] == 0)
            scrapes.append(exact(account(address)))
            memory.append(resident(process.pid))
        deadline = time.monotonic() + 60
        while (last := account(address))["queued"] and time.monotonic() < deadline:
            time.sleep(0.1)
        scrapes.append(exact(last))
    warm = len(memory) // 4
    growth = memory[-1] - memory[warm]
    flat = growth <= MOST_GROWTH_MEGABYTES or len(memory) < LEAST_LOADS
    kept = all(scrapes) and last["queued"] == 0 and flat and (killed > 0) == kills
    print(
        f"| {name} | {last['observations_total']:.0f} | {last['processed_total']:.0f} "
        f"| {last['dropped_total']:.0f} | {sum(scrapes)} of {len(scrapes)} "
        f"| {memory[warm]:.0f} -> {memory[-1]:.0f} | {growth:+.1f} |",
        flush=True,
    )
    return kept


def main() -> None:
    """Soak, and say whether memory stayed flat and the ledger exact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "post.lua").write_text(LUA % ("x" * 513))
        subprocess.run([PYTHONS["hook"], SERVICE, "prepare", "hook", folder], cwd=ROOT, check=True)
        print("| queue | observed | processed | dropped | exact scrapes | RSS MB | growth MB |")
        print("|---|---|---|---|---|---|---|")
        kept = soak("10,000 items", folder, arguments.requests)
        os.environ["INFERENCE_EXPORTER__QUEUE__MAX_ITEMS"] = "20"
        kept &= soak("20 items", folder, arguments.requests)
        del os.environ["INFERENCE_EXPORTER__QUEUE__MAX_ITEMS"]
        kept &= soak("helpers killed", folder, arguments.requests, kills=True)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
