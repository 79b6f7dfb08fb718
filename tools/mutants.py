"""Break the code in small ways, one at a time, and list the breaks that no test notices.

    python -m tools.mutants ledger                 # or http1, detectors; none means all of them
    python -m tools.mutants http1 --sample 100     # a hundred of its mutants, the same ones each time

Works on a copy: the working tree stays as it is. A mutant survives if its tests pass. Some always do,
since they change nothing that anybody could see; docs/mutants.md says which those are.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What is broken, and the tests that have to notice.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ledger": (
        ("exporter/pipeline/ledger.py", "exporter/metrics/totals.py"),
        ("tests/pipeline", "tests/metrics"),
    ),
    "http1": (("exporter/http/http1/*.py",), ("tests/http",)),
    "detectors": (("exporter/detectors/*.py", "exporter/detectors/*/*.py"), ("tests/detectors",)),
}
_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_QUIET = frozenset({"log", "warnings"})  # what is said to people is not what is done


@dataclass(frozen=True)
class Mutant:
    """A file with one small break in it."""

    path: Path
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}"


class _Breaker(ast.NodeTransformer):
    """Makes the break number ``wanted``, and counts them all."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.count = 0
        self.made: tuple[int, str] | None = None

    def visit(self, node: ast.AST) -> ast.AST:
        """Offer the breaks of a node, then those inside it."""
        if _is_talk(node):
            return node
        for broken in _breaks(node):
            self.count += 1
            if self.count - 1 == self.wanted:
                before, after = ast.unparse(node), ast.unparse(broken)
                self.made = (getattr(node, "lineno", 0), f"{_short(before)}  ->  {_short(after)}")
                return ast.copy_location(broken, node)
        for field, value in ast.iter_fields(node):
            # What these say is not what the code does.
            if field not in ("annotation", "returns", "decorator_list"):
                self._visit_field(node, field, value)
        return node

    def _visit_field(self, node: ast.AST, field: str, value: object) -> None:
        if isinstance(value, ast.AST):
            setattr(node, field, self.visit(value))
        elif isinstance(value, list):
            setattr(node, field, [self.visit(item) if isinstance(item, ast.AST) else item for item in value])


def _breaks(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _SWAPS:
        yield ast.Compare(node.left, [_swapped(node.ops[0])], node.comparators)  # type: ignore[list-item]
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(_swapped(node.op), node.values)  # type: ignore[arg-type]
    elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPS:
        yield ast.BinOp(node.left, _swapped(node.op), node.right)  # type: ignore[arg-type]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in _SWAPS:
            yield ast.AugAssign(node.target, _swapped(node.op), node.value)  # type: ignore[arg-type]
        yield ast.Pass()
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.If | ast.While) and not isinstance(
        node.test, ast.Compare | ast.BoolOp | ast.UnaryOp
    ):
        yield type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))


def _swapped(operator: ast.AST) -> ast.AST:
    return _SWAPS[type(operator)]()


def _is_talk(node: ast.AST) -> bool:
    """Whether a statement only says something: a docstring, a log line, an error's text."""
    if isinstance(node, ast.Raise):
        return True
    if not isinstance(node, ast.Expr):
        return False
    called = node.value.func if isinstance(node.value, ast.Call) else None
    owner = called.value if isinstance(called, ast.Attribute) else None
    return called is None or (isinstance(owner, ast.Name) and owner.id in _QUIET)


def _short(text: str) -> str:
    first = text.splitlines()[0]
    return first if len(first) <= 100 else first[:97] + "..."


def mutants(path: Path, root: Path = ROOT) -> Iterator[Mutant]:
    """Every mutant of a file."""
    source = (root / path).read_text(encoding="utf-8")
    counter = _Breaker(-1)
    counter.visit(ast.parse(source))
    for wanted in range(counter.count):
        breaker = _Breaker(wanted)
        tree = ast.fix_missing_locations(breaker.visit(ast.parse(source)))
        if breaker.made is not None:
            yield Mutant(path, *breaker.made, ast.unparse(tree))


def survives(mutant: Mutant, copy: Path, tests: Sequence[str], limit_seconds: float) -> bool:
    """Whether the tests pass with the mutant in place of the file; too long a run counts as noticed."""
    place = copy / mutant.path
    original = place.read_text(encoding="utf-8")
    place.write_text(mutant.source, encoding="utf-8")
    try:
        return _run(copy, tests, limit_seconds)
    finally:
        place.write_text(original, encoding="utf-8")


def _run(copy: Path, tests: Sequence[str], limit_seconds: float) -> bool:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own tests
            command, cwd=copy, env=environment, capture_output=True, timeout=limit_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 1 if the unbroken code fails its tests."""
    parser = argparse.ArgumentParser(description="List the small breaks of the code that no test notices.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; all by default")
    parser.add_argument("--sample", type=int, help="of each target, that many mutants only")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: %(default)s)")
    given = parser.parse_args(arguments)
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; choose from {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("exporter", "tests", "examples"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for name in given.targets or TARGETS:
            if not _report(name, copy, given.sample, random.Random(given.seed)):  # noqa: S311 - no secret
                return 1
    return 0


def _report(name: str, copy: Path, sample: int | None, rng: random.Random) -> bool:
    patterns, tests = TARGETS[name]
    files = [path.relative_to(ROOT) for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    every = [mutant for path in files for mutant in mutants(path)]
    chosen = every if sample is None or sample >= len(every) else rng.sample(every, sample)
    began = time.monotonic()
    if not _run(copy, tests, 600.0):
        print(f"{name}: the tests fail without any mutant", file=sys.stderr)
        return False
    limit_seconds = 10.0 + 5.0 * (time.monotonic() - began)
    survivors = 0
    for mutant in chosen:
        if survives(mutant, copy, tests, limit_seconds):
            survivors += 1
            print(mutant, flush=True)
    print(f"{name}: {len(chosen)} of {len(every)} mutants tried, {survivors} survived", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
