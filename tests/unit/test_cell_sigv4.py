"""The local gateway's signature check, against botocore's own signer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ops.cell.sigv4 import SignatureRefused, SignatureVerifier, node_key, read_credentials

URL = "http://127.0.0.1:9999/api/v1/workers/w-1/heartbeat?a=1&b=x%20y"
BODY = b'{"state": "ready"}'
VERIFIER = SignatureVerifier(read_credentials('{"AKIAONE": ["secret", "w-1"]}'), "us-east-1")


def signed(
    key: str = "AKIAONE",
    secret: str = "secret",
    region: str = "us-east-1",
    service: str = "execute-api",
) -> dict[str, str]:
    request = AWSRequest("POST", URL, {"X-Extra": "1", "Host": "127.0.0.1:9999"}, BODY)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    return dict(request.headers.items())


def signed_without(name: str) -> dict[str, str]:
    return {key: value for key, value in signed().items() if key != name}


def test_the_signer_is_named_by_its_session() -> None:
    arn = VERIFIER.identity("POST", URL, signed(), BODY)
    assert arn == "arn:aws:sts::000000000000:assumed-role/rapido-worker/w-1"


def test_header_names_may_come_in_any_case() -> None:
    headers = {name.upper(): value for name, value in signed().items()}
    assert VERIFIER.identity("POST", URL, headers, BODY).endswith("/w-1")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (dict, "not signed"),
        (lambda: {"Authorization": "Bearer abc"}, "not signed"),
        (lambda: signed(key="AKIATWO"), "unknown"),
        (lambda: signed(secret="other"), "wrong"),
        (lambda: signed(region="eu-central-1"), "us-east-1"),
        (lambda: signed(service="s3"), "execute-api"),
        (lambda: {**signed(), "X-Extra": "2"}, "wrong"),
        (lambda: {**signed(), "X-Amz-Content-SHA256": "0" * 64}, "body"),
        (lambda: signed_without("X-Extra"), "every signed header"),
        (lambda: signed_without("X-Amz-Date"), "x-amz-date"),
    ],
)
def test_a_bad_signature_is_refused(headers: Callable[[], dict[str, str]], reason: str) -> None:
    with pytest.raises(SignatureRefused, match=reason):
        VERIFIER.identity("POST", URL, headers(), BODY)


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("DELETE", URL, BODY),
        ("POST", URL.replace("w-1", "w-2"), BODY),
        ("POST", URL.replace("a=1", "a=2"), BODY),
        ("POST", URL, b"{}"),
    ],
)
def test_a_signature_holds_for_one_request_only(method: str, url: str, body: bytes) -> None:
    with pytest.raises(SignatureRefused, match="wrong"):
        VERIFIER.identity(method, url, signed(), body)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_signature_is_refused_far_from_its_time(minutes: int) -> None:
    moved = replace(VERIFIER, now=lambda: datetime.now(UTC) + timedelta(minutes=minutes))
    with pytest.raises(SignatureRefused, match="5 minutes"):
        moved.identity("POST", URL, signed(), BODY)


def test_a_node_is_known_by_the_key_made_of_its_name() -> None:
    verifier = replace(VERIFIER, node_secret="of the cell")
    key, secret = node_key("of the cell", "i-0123456789abcdef0")

    arn = verifier.identity("POST", URL, signed(key, secret), BODY)

    assert arn.endswith("/i-0123456789abcdef0")


def test_a_node_cannot_sign_for_another() -> None:
    verifier = replace(VERIFIER, node_secret="of the cell")
    _, secret = node_key("of the cell", "i-0123456789abcdef0")
    other, _ = node_key("of the cell", "i-0123456789abcdef1")

    with pytest.raises(SignatureRefused, match="wrong"):
        verifier.identity("POST", URL, signed(other, secret), BODY)


def test_without_a_secret_no_node_is_known() -> None:
    with pytest.raises(SignatureRefused, match="unknown"):
        VERIFIER.identity("POST", URL, signed(*node_key("", "i-0123456789abcdef0")), BODY)
