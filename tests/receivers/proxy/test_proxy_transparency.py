"""What passes through the proxy equals what passes without it: bytes and ends, on both sides."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.receivers.proxy.address import Address
from tests.receivers.proxy.proxy_wire import (
    C,
    E,
    F,
    P,
    R,
    S,
    Script,
    Seen,
    X,
    converse,
    directly,
    observing,
    proxying,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = bytes(range(256)) * 16384  # 4 MiB: more than sockets and our buffers hold together
WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"  # noqa: E501
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00"


def exchange(request: bytes, answer: bytes, *, closes: bool = False) -> tuple[Script, Script]:
    """One request, one answer, then the client closes, or the upstream if ``closes``."""
    if closes:
        return (S(request), E(), C()), (R(len(request)), S(answer), C())
    return (S(request), R(len(answer)), F(), E()), (R(len(request)), S(answer), E(), C())


def post(body: bytes, *headers: bytes, path: bytes = b"/", version: bytes = b"1.1") -> bytes:
    lines = (b"Content-Length: %d" % len(body), *headers)
    return b"POST %s HTTP/%s\r\nHost: a\r\n%s\r\n\r\n%s" % (path, version, b"\r\n".join(lines), body)


def get(*headers: bytes, path: bytes = b"/", version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return b"%s %s HTTP/%s\r\n%s\r\n" % (method, path, version, b"".join(h + b"\r\n" for h in headers))


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (
        status,
        b"".join(h + b"\r\n" for h in headers),
        len(body),
        body,
    )


EVENT = b"data: event\n\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + EVENT
CONNECT = b"CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n"
CHUNKED_ANSWER = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;name=value\r\n world\r\n0\r\n\r\n"
)
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

CASES: dict[str, tuple[Script, Script]] = {
    # Methods and targets.
    "get": exchange(GET, OK),
    "head": exchange(get(b"Host: a", method=b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"),
    "put": exchange(post(b"x").replace(b"POST", b"PUT"), OK),
    "patch": exchange(post(b"x").replace(b"POST", b"PATCH"), OK),
    "delete with a body": exchange(post(b"x").replace(b"POST", b"DELETE"), OK),
    "options asterisk": exchange(get(b"Host: a", method=b"OPTIONS", path=b"*"), OK),
    "trace": exchange(get(b"Host: a", method=b"TRACE"), OK),
    "a method nobody knows": exchange(get(b"Host: a", method=b"FROBNICATE"), OK),
    "a lower-case method": exchange(get(b"Host: a", method=b"get"), OK),
    "absolute target": exchange(get(b"Host: a", path=b"http://b.example/x?y"), OK),
    "dot segments and double slashes": exchange(get(b"Host: a", path=b"/a//b/../c/./%2e%2e/%2F?q=%zz&&"), OK),
    "raw bytes in the target": exchange(get(b"Host: a", path=b"/\xff\xfe\x80"), OK),
    "a target of 32 KiB": exchange(get(b"Host: a", path=b"/" + b"a" * 32768), OK),
    "an empty query": exchange(get(b"Host: a", path=b"/?"), OK),
    # Headers.
    "connection headers": exchange(
        get(b"Host: a", b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=5"), OK
    ),
    "proxy headers are not ours": exchange(
        get(
            b"Host: a",
            b"X-Forwarded-For: 1.2.3.4",
            b"Via: 1.0 x",
            b"Proxy-Connection: close",
            b"TE: trailers",
        ),
        OK,
    ),
    "no host": exchange(get(), OK),
    "two hosts": exchange(get(b"Host: a", b"Host: b"), OK),
    "header names keep their case": exchange(get(b"hOsT: a", b"x-LOWER-Upper: V"), OK),
    "repeated headers keep their order": exchange(GET, answer(b"", b"Set-Cookie: a=1", b"Set-Cookie: b=2")),
    "folded header": exchange(get(b"Host: a", b"X-Folded: a\r\n b"), OK),
    "bytes above 127 in a header": exchange(get(b"Host: a", "X-Name: Jos\u00e9".encode("latin-1")), OK),
    "space before the colon": exchange(get(b"Host : a"), OK),
    "bare line feeds": exchange(b"GET / HTTP/1.1\nHost: a\n\n", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    "empty lines before the request": exchange(b"\r\n\r\n" + GET, OK),
    "a hundred headers": exchange(get(*(b"X-%d: %d" % (i, i) for i in range(100))), OK),
    "a header of 100 KiB": exchange(get(b"Host: a", b"Cookie: " + b"c" * 102400), OK),
    "a NUL in a header": exchange(get(b"Host: a", b"X: \x00"), OK),
    "unknown answer headers and reason": exchange(GET, answer(b"x", b"X-Y: z", status=b"299 Rather Fine")),
    "an answer without a reason": exchange(GET, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    # Versions and connection ends.
    "http/1.0": exchange(get(version=b"1.0"), b"HTTP/1.0 200 OK\r\n\r\nuntil the end", closes=True),
    "http/1.0 with keep-alive": exchange(
        get(b"Connection: keep-alive", version=b"1.0"),
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
    ),
    "http/0.9": exchange(b"GET /\r\n", b"<html>no head</html>", closes=True),
    "connection close asked": exchange(get(b"Host: a", b"Connection: close"), OK, closes=True),
    "connection close answered": exchange(GET, answer(b"x", b"Connection: close"), closes=True),
    "body until the end of the connection": exchange(
        GET, b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 100_000, closes=True
    ),
    # Bodies.
    "content-length 0": exchange(post(b""), answer(b"")),
    "post of 1 KiB": exchange(post(b"x" * 1024), answer(b"y" * 1024)),
    "post of 4 MiB": exchange(post(BIG), answer(b"got it")),
    "answer of 4 MiB": exchange(GET, answer(BIG)),
    "chunked request": exchange(CHUNKED_POST, OK),
    "chunked answer with an extension": exchange(GET, CHUNKED_ANSWER),
    "chunked answer with trailers": exchange(
        GET,
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
    ),
    "chunked request with trailers": exchange(CHUNKED_POST[:-2] + b"X-Sum: 9\r\n\r\n", OK),
    "a broken chunk size": exchange(
        GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", closes=True
    ),
    "gzip is not decoded": exchange(GET, answer(b"\x1f\x8b\x08\x00junk", b"Content-Encoding: gzip")),
    "both length and chunked": exchange(
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", OK
    ),
    "two different lengths": exchange(
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", OK
    ),
    "more body than announced": exchange(GET, answer(b"abc") + b"surplus"),
    "less body than announced": exchange(
        GET, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", closes=True
    ),
    "204 without a body": exchange(GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304 with a length and no body": exchange(GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    "500 with a body": exchange(GET, answer(b"boom", status=b"500 Internal Server Error")),
    # Order and timing.
    "pipelining": exchange(GET * 5, OK * 5),
    "pipelined posts": exchange(post(b"a") + CHUNKED_POST + GET, OK * 3),
    "keep-alive, one after the other": (
        (S(GET), R(len(OK)), S(post(b"b")), R(len(OK)), F(), E()),
        (R(len(GET)), S(OK), R(len(post(b"b"))), S(OK), E(), C()),
    ),
    "100-continue": (
        (
            S(get(b"Expect: 100-continue", b"Content-Length: 3", method=b"POST")),
            R(25),
            S(b"abc"),
            R(len(OK)),
            F(),
            E(),
        ),
        (
            R(len(get(b"Expect: 100-continue", b"Content-Length: 3", method=b"POST"))),
            *(S(b"HTTP/1.1 100 Continue\r\n\r\n"), R(3), S(OK), E(), C()),
        ),
    ),
    "100-continue refused": (
        (S(get(b"Expect: 100-continue", b"Content-Length: 3", method=b"POST")), E(), C()),
        (
            R(len(get(b"Expect: 100-continue", b"Content-Length: 3", method=b"POST"))),
            *(S(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), C()),
        ),
    ),
    "103 early hints": exchange(GET, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK),
    "an answer before the request is complete": (
        (S(post(b"x" * 10)[:-5]), R(len(OK)), S(b"x" * 5), F(), E()),
        (R(len(post(b"x" * 10)) - 5), S(OK), R(5), E(), C()),
    ),
    "server-sent events, first byte at once": (
        (S(GET), R(len(EVENTS)), P("first seen"), R(len(EVENT)), P("second seen"), E(), C()),
        (R(len(GET)), S(EVENTS), P("first seen"), S(EVENT), P("second seen"), S(b"data: end\n\n"), C()),
    ),
    "a request byte by byte": (
        (*(S(bytes([b])) for b in GET), R(len(OK)), F(), E()),
        (R(len(GET)), S(OK), E(), C()),
    ),
    "an answer byte by byte": (
        (S(GET), R(len(OK)), F(), E()),
        (R(len(GET)), *(S(bytes([b])) for b in OK), E(), C()),
    ),
    "both directions at once": (
        (S(GET), P("head"), S(b"u" * 50_000), R(50_000), F(), E()),
        (R(len(GET)), P("head"), S(b"d" * 50_000), R(50_000), E(), C()),
    ),
    "the upstream speaks first": ((R(6), S(b"EHLO\r\n"), F(), E()), (S(b"220 x\n"), R(6), E(), C())),
    "the client says nothing and leaves": ((P("up"), F(), E(), C()), (P("up"), E(), C())),
    "the upstream says nothing and leaves": ((P("up"), E(), C()), (P("up"), C())),
    # Half-close.
    "client half-closes after the request": ((S(GET), F(), E(), C()), (R(len(GET)), E(), S(OK), C())),
    "client half-closes, a long answer follows": ((S(GET), F(), E(), C()), (E(), S(BIG), C())),
    "upstream half-closes after the answer": (
        (S(GET), E(), P("ended"), S(b"more"), F()),
        (R(len(GET)), S(OK), F(), P("ended"), E(), C()),
    ),
    "upstream half-closes first, a long upload follows": ((E(), S(BIG), F()), (F(), E(), C())),
    # Resets.
    "client resets before asking": ((P("up"), X()), (P("up"), E())),
    "client resets in its head": ((S(GET[:10]), P("sent"), X()), (R(10), P("sent"), E())),
    "client resets in its body": (
        (S(post(b"x" * 100)[:-50]), P("sent"), X()),
        (R(len(post(b"x" * 100)) - 50), P("sent"), E()),
    ),
    "client resets waiting for the answer": ((S(GET), P("sent"), X()), (R(len(GET)), P("sent"), E())),
    "client resets in the answer": (
        (S(GET), R(5), P("began"), X()),
        (R(len(GET)), S(OK[:5]), P("began"), E()),
    ),
    "client resets between exchanges": (
        (S(GET), R(len(OK)), P("done"), X()),
        (R(len(GET)), S(OK), P("done"), E()),
    ),
    "upstream resets at once": ((P("up"), E()), (P("up"), X())),
    "upstream resets instead of answering": ((S(GET), E()), (R(len(GET)), X())),
    "upstream resets in its head": (
        (S(GET), R(9), P("began"), E()),
        (R(len(GET)), S(OK[:9]), P("began"), X()),
    ),
    "upstream resets in its body": (
        (S(GET), R(30), P("began"), E()),
        (R(len(GET)), S(answer(b"y" * 100)[:30]), P("began"), X()),
    ),
    "upstream resets in a chunk": (
        (S(GET), R(60), P("began"), E()),
        (R(len(GET)), S(CHUNKED_ANSWER[:60]), P("began"), X()),
    ),
    "upstream resets between exchanges": (
        (S(GET), R(len(OK)), P("done"), E()),
        (R(len(GET)), S(OK), P("done"), X()),
    ),
    "upstream resets in an upload": (
        (S(post(b"x" * 100)[:-50]), P("sent"), E()),
        (R(len(post(b"x" * 100)) - 50), P("sent"), X()),
    ),
    # Other protocols.
    "websocket": (
        (
            S(WEBSOCKET),
            R(len(SWITCHING)),
            S(b"\x81\x85abcd\x09\x07\x0f\x08\x0e"),
            R(7),
            S(b"\x88\x80abcd"),
            E(),
            C(),
        ),
        (R(len(WEBSOCKET)), S(SWITCHING), R(11), S(b"\x81\x05hello"), R(6), S(b"\x88\x00"), C()),
    ),
    "websocket bytes with the 101": exchange(WEBSOCKET, SWITCHING + b"\x81\x05hello\x88\x00"),
    "an upgrade refused, then more http": (
        (S(WEBSOCKET), R(len(OK)), S(GET), R(len(OK)), F(), E()),
        (R(len(WEBSOCKET)), S(OK), R(len(GET)), S(OK), E(), C()),
    ),
    "connect tunnel": (
        (S(CONNECT), R(19), S(b"\x00\xff\x00"), R(2), F(), E()),
        (R(len(CONNECT)), S(b"HTTP/1.1 200 OK\r\n\r\n"), R(3), S(b"\xff\x00"), E(), C()),
    ),
    "http/2 prior knowledge": exchange(PREFACE, SETTINGS),
    "h2c upgrade": exchange(
        get(b"Host: a", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + SETTINGS,
    ),
    "no protocol at all": exchange(bytes(range(256)) * 8, bytes(reversed(range(256))) * 8),
    "an answer that is no http": exchange(GET, b"\x00\x01\x02 nothing like it\r\n\r\n", closes=True),
    "an answer to nobody": ((R(len(OK)), F(), E()), (S(OK), E(), C())),
}


@contextlib.contextmanager
def through_the_proxy(address: Address) -> Iterator[Address]:
    with observing([]) as tap, proxying(address, tap=tap) as running:
        yield running.address
        assert running.proxy.stats.responded_502 == running.proxy.stats.responded_504 == 0


@pytest.mark.parametrize("name", CASES)
def test_both_sides_see_what_they_would_see_directly(name: str) -> None:
    client, upstream = CASES[name]
    direct = converse(client, upstream, directly)
    proxied = converse(client, upstream, through_the_proxy)
    assert _short(proxied) == _short(direct)
    assert proxied == direct


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


def test_the_comparison_notices_a_changed_byte_and_a_changed_end() -> None:
    """Negative control: the harness tells differences apart."""
    client, upstream = CASES["get"]
    direct = converse(client, upstream, directly)
    assert converse(client, (R(len(GET)), S(OK[:-1] + b"K"), E(), C()), directly) != direct
    client, upstream = CASES["upstream resets instead of answering"]
    assert converse(client, upstream, directly) != converse(client, (R(len(GET)), C()), directly)


def _short(pair: tuple[Seen, Seen]) -> list[tuple[int, str]]:
    return [(len(seen.data), seen.end) for seen in pair]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-made certificate and its key in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key, cert = path.with_suffix(".key"), path.with_suffix(".crt")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(key.read_bytes() + cert.read_bytes())
    return path


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_tls_passes_and_the_certificate_is_the_upstreams(certificate: Path, alpn: str) -> None:
    def serve(sock: object, seen: Seen) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        context.set_alpn_protocols([alpn])
        with context.wrap_socket(sock, server_side=True) as tls:
            while len(seen.data) < len(GET):
                seen.data += tls.recv(1000)
            tls.sendall(OK)
            tls.unwrap()

    def ask(sock: object, seen: Seen) -> None:
        context = ssl.create_default_context(cafile=str(certificate))
        context.set_alpn_protocols([alpn])
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            seen.end = f"{tls.selected_alpn_protocol()} {tls.getpeercert()['subject']}"
            tls.sendall(GET)
            while data := tls.recv(1000):
                seen.data += data
            tls.unwrap()

    reasons: list[str] = []

    @contextlib.contextmanager
    def front(address: Address) -> Iterator[Address]:
        with observing([]) as tap, proxying(address, tap=tap) as running:
            yield running.address
        reasons.extend(reason for reason, n in tap.reader.unobserved.items() for _ in range(n))

    assert converse(ask, serve, front) == converse(ask, serve, directly)
    assert reasons == ["tls"]
