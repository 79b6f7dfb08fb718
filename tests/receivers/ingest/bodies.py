"""Bodies that a hostile client may send."""

from __future__ import annotations

import random


def mutated(generator: random.Random, seeds: list[bytes]) -> bytes:
    """A valid body, damaged: bytes flipped, cut, repeated, nested, or a value put in another's place."""
    body = generator.choice(seeds)
    damage = generator.randrange(6)
    if damage == 0:
        data = bytearray(body)
        for _ in range(generator.randint(1, 8)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        return bytes(data)
    if damage == 1:
        return body[: generator.randrange(len(body))]
    if damage == 2:
        return body * generator.randint(2, 5)
    if damage == 3:
        depth = generator.choice([2, 100, 1000, 100_000])
        return b"[" * depth + body + b"]" * depth
    old = generator.choice(
        [b'"soup"', b"0.5", b"[1.0,2.0]", b'"r1"', b'"classifier"', b'"churn"', b"{", b":"]
    )
    new = [b"null", b"NaN", b"-Infinity", b"1e999", b"-0.0", b"[]", b"{}", b'""', b'"\\ud800"', b"true"]
    new += [b"9" * 400, b'"' + b"x" * 5000 + b'"', b"[1.0]", b"[1.0,2.0,3.0]", b"[[1.0,2.0]]", b"\xff\xfe"]
    return body.replace(old, generator.choice(new), generator.randint(1, 3))
