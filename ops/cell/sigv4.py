"""SigV4 as API Gateway's IAM authorizer checks it: the request is signed again and compared."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SERVICE = "execute-api"
MAX_AGE_S = 300.0
ROLE = "rapido-worker"
_ALGORITHM = "AWS4-HMAC-SHA256"
_NODE = "ASIANODE"
_TIME = "%Y%m%dT%H%M%SZ"
_HEADER = re.compile(
    _ALGORITHM
    + r" Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)"
    r"/aws4_request,\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


class SignatureRefused(Exception):
    """The request is not signed, or not by anyone known; the message says what is wrong."""


@dataclass(frozen=True)
class LocalCredential:
    """A secret key and the role session name it stands for (on AWS: the instance id)."""

    secret: str
    session_name: str

    @property
    def user_arn(self) -> str:
        """What API Gateway puts in ``requestContext.identity.userArn``."""
        return f"arn:aws:sts::000000000000:assumed-role/{ROLE}/{self.session_name}"


def read_credentials(text: str) -> dict[str, LocalCredential]:
    """JSON ``{access key id: [secret, session name]}``, as in RAPIDO_LOCAL_CREDENTIALS."""
    return {key: LocalCredential(*pair) for key, pair in json.loads(text).items()}


def node_key(secret: str, node_id: str) -> tuple[str, str]:
    """The key pair of one node of a group: nobody knows its name before it is launched."""
    access_key = _NODE + node_id.removeprefix("i-").upper()
    return access_key, hmac.new(secret.encode(), access_key.encode(), hashlib.sha256).hexdigest()


def _node_credential(secret: str, access_key: str) -> LocalCredential | None:
    if not secret or not access_key.startswith(_NODE):
        return None
    node_id = f"i-{access_key.removeprefix(_NODE).lower()}"
    return LocalCredential(node_key(secret, node_id)[1], node_id)


@dataclass(frozen=True)
class SignatureVerifier:
    """Knows the local credentials and the region requests must be signed for.

    With ``node_secret`` it knows every key of ``node_key`` as well.
    """

    credentials: Mapping[str, LocalCredential]
    region: str
    node_secret: str = ""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def identity(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
        """The signer's ARN.

        ``url`` is as the client wrote it, ``headers`` as received.

        Raises:
            SignatureRefused: no signature, an unknown key, a wrong or an old signature.
        """
        received = {name.lower(): value for name, value in headers.items()}
        parts = _HEADER.fullmatch(received.get("authorization", ""))
        if parts is None:
            raise SignatureRefused("the request is not signed with SigV4")
        key = parts["key"]
        credential = self.credentials.get(key) or _node_credential(self.node_secret, key)
        if credential is None:
            raise SignatureRefused("the access key is unknown")
        if (parts["region"], parts["service"]) != (self.region, SERVICE):
            raise SignatureRefused(f"sign for {SERVICE} in {self.region}")
        stamp = received.get("x-amz-date", "")
        self._check_time(stamp, parts["date"])
        digest = received.get("x-amz-content-sha256")
        if digest not in (None, hashlib.sha256(body).hexdigest()):
            raise SignatureRefused("the body is not the one that was signed")
        signed = parts["headers"].split(";")
        if not {"host", "x-amz-date"} <= set(signed) <= set(received):
            raise SignatureRefused(
                "host and x-amz-date must be signed, and every signed header sent"
            )
        request = AWSRequest(method, url, {n: received[n] for n in signed}, body)
        if not hmac.compare_digest(
            self._sign(key, credential.secret, request, stamp), parts["signature"]
        ):
            raise SignatureRefused("the signature is wrong")
        return credential.user_arn

    def _check_time(self, stamp: str, scope_date: str) -> None:
        try:
            signed_at = datetime.strptime(stamp, _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise SignatureRefused("x-amz-date must read like 20270131T090000Z") from None
        if not stamp.startswith(scope_date):
            raise SignatureRefused("the credential's date is not the request's")
        if abs((self.now() - signed_at).total_seconds()) > MAX_AGE_S:
            raise SignatureRefused("the signature is older than 5 minutes: check this clock")

    def _sign(self, key: str, secret: str, request: AWSRequest, stamp: str) -> str:
        signer = SigV4Auth(Credentials(key, secret), SERVICE, self.region)
        request.context["timestamp"] = stamp
        canonical = signer.canonical_request(request)
        return str(signer.signature(signer.string_to_sign(request, canonical), request))
