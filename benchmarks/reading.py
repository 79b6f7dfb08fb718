"""What reading an exchange costs on top of parsing its JSON, for each protocol.

    python -m benchmarks.reading

Prints a markdown table: median microseconds of processor time of ``orjson.loads`` on both bodies, of
the decoder ``auto``, and of all the way to an observation: decoded, cleaned, named features in order.
"""

from __future__ import annotations

import argparse
import statistics
import time
import timeit
from collections.abc import Callable

import orjson

from exporter.config import CaptureConfig
from exporter.decoders.registry import make_reader
from exporter.http.exchange import Exchange
from exporter.pipeline.extraction import Extractor

ROW = [index / 7 for index in range(16)]
HEADERS = ((b"host", b"service"), (b"content-type", b"application/json"), (b"user-agent", b"client"))
CASES = {
    "plain": ({"image": "A" * 1000}, {"prediction": "cat", "probability": 0.93}),
    "plain, features": ({"features": ROW}, {"prediction": "cat", "probability": 0.93}),
    "plain, named features": (
        {"features": {f"feature {index}": value for index, value in enumerate(ROW)}},
        {"prediction": "cat", "probability": 0.93},
    ),
    "plain, embedding": ({"image": "A" * 1000}, {"prediction": "cat", "probability": 0.9, "embedding": ROW}),
    "kserve-v1": ({"instances": [ROW]}, {"predictions": [[0.1, 0.7, 0.2]]}),
    "open-inference-v2": (
        {"inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": ROW}]},
        {"id": "7", "outputs": [{"name": "predict", "shape": [1, 1], "datatype": "INT64", "data": [3]}]},
    ),
    "openai": (
        {"messages": [{"role": "user", "content": "hello"}]},
        {
            "id": "c1",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        },
    ),
}


def exchange(request: object, response: object) -> Exchange:
    made = Exchange("POST", "/predict", b"", HEADERS, max_body_bytes=1 << 20, started=0.0)
    made.request_chunk(orjson.dumps(request))
    made.response_start(200, HEADERS)
    made.response_chunk(orjson.dumps(response))
    made.finish(0.01)
    return made


def refuse(field: str, reason: str) -> None:
    raise AssertionError(f"{field}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=5000)
    options = parser.parse_args()
    read = make_reader(CaptureConfig())
    extractor = Extractor("m", CaptureConfig(), refuse)

    print("| exchange | JSON alone, us | read, us | observed, us |")
    print("|---|---:|---:|---:|")
    for name, (request, response) in CASES.items():
        made = exchange(request, response)
        ways: tuple[Callable[[], object], ...] = (
            lambda made=made: (orjson.loads(made.request_body), orjson.loads(made.response_body)),
            lambda made=made: read(made),
            lambda made=made: extractor.observations("hook", made),
        )
        times: list[list[float]] = [[], [], []]
        for _ in range(options.rounds):
            for way, collected in zip(ways, times, strict=True):
                collected.append(
                    timeit.timeit(way, number=options.calls, timer=time.process_time) / options.calls * 1e6
                )
        print(f"| {name} | " + " | ".join(f"{statistics.median(item):.1f}" for item in times) + " |")


if __name__ == "__main__":
    main()
