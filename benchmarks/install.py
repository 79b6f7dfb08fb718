"""What the core costs to install and to import: ``.venv/bin/python -m benchmarks.install``.

Builds a wheel, installs it with no extra into a bare virtual environment, and prints the size of
site-packages and the import times, each the median of several fresh processes.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_MEGABYTES, MOST_SECONDS = 250.0, 0.4
STATEMENTS = ("import exporter", "from exporter import InferenceExporter", "from exporter import observe")
EXTRAS = ("fastapi", "scipy", "torch", "torchvision", "alibi_detect", "onnxruntime")
TIMED = """
import sys, time
started = time.perf_counter()
{statement}
print(time.perf_counter() - started)
"""


def run(*command: str | Path) -> str:
    """A command's output; its error output where it fails."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def megabytes(folder: Path) -> float:
    """Size of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def build(folder: Path) -> Path:
    """The wheel; without isolation where the build backend is at hand, since that needs no download."""
    isolation = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def main() -> None:
    """Measure, and say whether it stays within its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help="fresh processes for each import time")
    arguments = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        bare = megabytes(packages)
        run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
        size = megabytes(packages) - bare
        kept &= size < MOST_MEGABYTES
        print("| what | figure | bound |\n|---|---|---|")
        print(f"| site-packages, without pip | {size:.0f} MB | {MOST_MEGABYTES:.0f} MB |")
        for statement in STATEMENTS:
            code = TIMED.format(statement=statement)
            run(python, "-c", code)  # writes the byte code
            seconds = statistics.median(float(run(python, "-c", code)) for _ in range(arguments.runs))
            kept &= seconds < MOST_SECONDS
            print(f"| `{statement}` | {seconds:.3f} s | {MOST_SECONDS} s |")
        check = f"import exporter, importlib.util as u; print([n for n in {EXTRAS} if u.find_spec(n)])"
        print(f"\nextras installed: {run(python, '-c', check).strip()}; import exporter works without them")
        largest = sorted(((megabytes(path), path.name) for path in packages.iterdir()), reverse=True)[:6]
        print("largest: " + ", ".join(f"{name} {size:.0f} MB" for size, name in largest))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
