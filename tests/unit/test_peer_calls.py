"""Calls to a peer: signed, within the deadline, and not again and again to one that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.credentials import Credentials
from moto import mock_aws

from control.adapters.peer_calls import HttpPeerCalls, PeerCredentials
from control.domain.breaker import FAILURES
from control.domain.geography import REGIONS
from control.services.peer_ports import Peer, PeerAnswer, PeerAway
from ops.cell.sigv4 import LocalCredential, SignatureVerifier

WEST = "us-west-2"


class PlayedPeer:
    """A server that answers as ``answer`` says; ``seen`` are the requests."""

    def __init__(self) -> None:
        played = self
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda h: self.say(h, b'{"a": 1}')

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                played.seen.append(("PUT", self.path, dict(self.headers), body))
                played.answer(self)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_port}"
        self.peer = Peer("west", WEST, REGIONS[WEST], url)

    def say(self, handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def played() -> Iterator[PlayedPeer]:
    peer = PlayedPeer()
    yield peer
    peer.server.shutdown()
    peer.server.server_close()


def ask(
    calls: HttpPeerCalls, peer: Peer, timeout_s: float = 5.0, signed: bool = True
) -> PeerAnswer:
    return calls.call(peer, "PUT", "/x/a%20b", b"{}", {"X-More": "1"}, timeout_s, signed=signed)


def calls() -> HttpPeerCalls:
    return HttpPeerCalls(lambda: Credentials("AKIA", "secret"))


def test_a_call_is_signed_for_the_peers_region_and_its_answer_read(played: PlayedPeer) -> None:
    answer = ask(calls(), played.peer)

    assert (answer.status, answer.body) == (200, {"a": 1})
    method, path, headers, body = played.seen[0]
    verifier = SignatureVerifier({"AKIA": LocalCredential("secret", "cell-east")}, WEST)
    arn = verifier.identity(method, played.peer.url + path, headers, body)
    assert arn.endswith("/cell-east")
    assert headers["X-More"] == "1"


def test_a_forwarded_call_is_not_signed(played: PlayedPeer) -> None:
    ask(calls(), played.peer, signed=False)
    assert "Authorization" not in played.seen[0][2]


@pytest.mark.parametrize(
    ("body", "status"), [(b"<html>", 200), (b"[]", 200), (b"{}", 500), (b"[" * 100_000, 200)]
)
def test_an_answer_that_makes_no_sense_is_none(
    played: PlayedPeer, body: bytes, status: int
) -> None:
    played.answer = lambda handler: played.say(handler, body, status)
    with pytest.raises(PeerAway):
        ask(calls(), played.peer)


def test_a_refusal_is_an_answer(played: PlayedPeer) -> None:
    played.answer = lambda handler: played.say(handler, b"{}", 503)
    assert [ask(calls(), played.peer).status for _ in range(FAILURES + 1)] == [503] * 4


def test_a_peer_that_sends_byte_after_byte_is_not_waited_for(played: PlayedPeer) -> None:
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not over.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    played.answer = drip
    with pytest.raises(PeerAway):
        ask(calls(), played.peer, timeout_s=0.3)
    over.set()


def test_a_peer_that_failed_three_times_is_left_alone_and_others_are_not(
    played: PlayedPeer,
) -> None:
    played.answer = lambda handler: played.say(handler, b"{}", 500)
    one = calls()
    for _ in range(FAILURES + 2):
        with pytest.raises(PeerAway):
            ask(one, played.peer)
    assert len(played.seen) == FAILURES

    played.answer = lambda handler: played.say(handler, b"{}")
    other = Peer("other", WEST, REGIONS[WEST], played.peer.url)
    assert ask(one, other).status == 200


def test_a_cell_signs_with_the_pair_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPIDO_PEER_ACCESS_KEY", "AKIAX")
    monkeypatch.setenv("RAPIDO_PEER_SECRET_KEY", "y")
    found = PeerCredentials("east")()
    assert (found.access_key, found.secret_key) == ("AKIAX", "y")


def test_a_cell_signs_as_its_own_role_which_it_takes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAPIDO_PEER_ACCESS_KEY", raising=False)
    monkeypatch.setenv("RAPIDO_PEER_ROLE_ARN", "arn:aws:iam::123456789012:role/rapido-east-peer")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        credentials = PeerCredentials("east")
        found = credentials()
        who = boto3.client(
            "sts",
            aws_access_key_id=found.access_key,
            aws_secret_access_key=found.secret_key,
            aws_session_token=found.token,
        ).get_caller_identity()

        assert who["Arn"].endswith(":assumed-role/rapido-east-peer/cell-east")
        assert credentials() is found
