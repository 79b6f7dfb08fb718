"""Messages arrive complete and in order, however the bytes are cut and whatever their size."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.processes.framing import Link, framed, receive

BUFFER = 256 * 1024
SIZES = st.one_of(st.integers(0, 40), st.integers(BUFFER - 40, BUFFER + 40), st.just(3 * BUFFER + 7))


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Link(ours), Link(theirs)


def filled(size: int, number: int) -> bytes:
    """Bytes that are told apart from those of another number."""
    return bytes([number % 251]) * size


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SIZES, st.booleans(), st.lists(SIZES, max_size=3)), max_size=8), st.booleans())
def test_everything_arrives(messages: list[tuple[int, bool, list[int]]], narrow: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if narrow:  # a send then takes a part of what it is given
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            ours.settimeout(20)
        sender, receiver = Link(ours), Link(theirs)

        def send() -> None:
            for number, (size, raw, following) in enumerate(messages):
                body = filled(size, number)
                views = [memoryview(filled(n, number + k)) for k, n in enumerate(following, 1)]
                sender.send(body if raw else {"body": body}, views)
            sender.finish()

        thread = threading.Thread(target=send)
        thread.start()
        for number, (size, raw, following) in enumerate(messages):
            found = receiver.receive()
            assert (bytes(found) if raw else found["body"]) == filled(size, number)
            kept = [receiver.read(n) for n in following]
            for k, (n, view) in enumerate(zip(following, kept, strict=True), 1):
                assert view is not None
                assert bytes(view) == filled(n, number + k)
        assert receiver.receive() is None
        thread.join(20)
        assert not thread.is_alive()


def test_bytes_are_not_copied_and_last_until_the_next_call(ends: tuple[Link, Link]) -> None:
    one, other = ends
    one.send(b"first")
    one.send(b"other")
    first = other.receive()
    assert (type(first), bytes(first)) == (memoryview, b"first")
    assert other.pending()
    assert bytes(other.receive()) == b"other"
    assert not other.pending()


@pytest.mark.parametrize("rest", [0, 1, 3, 12])
def test_a_message_that_breaks_off_is_the_end(ends: tuple[Link, Link], rest: int) -> None:
    one, other = ends
    message = b"".join(framed("something"))
    one.connection.sendall(message[: len(message) - rest] if rest else b"")
    one.close()
    assert other.receive() is None


def test_a_read_that_breaks_off_is_the_end(ends: tuple[Link, Link]) -> None:
    one, other = ends
    one.connection.sendall(b"abc")
    one.close()
    assert other.read(4) is None


@given(
    st.lists(st.integers(0, 200), max_size=6),
    st.lists(st.integers(0, 2000), max_size=8),
    st.integers(0, 12),
)
def test_pieces_become_messages(sizes: list[int], places: list[int], missing: int) -> None:
    said = [filled(size, number) if number % 2 else [size, number] for number, size in enumerate(sizes)]
    data = b"".join(piece for message in said for piece in framed(message))
    broken_off = b"".join(framed("something"))[: -missing or None]
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]

    async def found() -> list[object]:
        reader = asyncio.StreamReader()
        coming = asyncio.create_task(received(reader))
        for start, end in pairwise(bounds):
            reader.feed_data(data[start:end])
            await asyncio.sleep(0)
        reader.feed_data(broken_off)
        reader.feed_eof()
        return await coming

    async def received(reader: asyncio.StreamReader) -> list[object]:
        messages = []
        while (message := await receive(reader)) is not None:
            messages.append(message)
        return messages

    assert asyncio.run(found()) == [*said, *([] if missing else ["something"])]
