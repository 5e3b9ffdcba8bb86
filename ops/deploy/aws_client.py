"""A boto3 client whose faults are the deployer's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

from ops.deploy.facts import CloudError, Conflict, CredentialsExpired

_EXPIRED = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "UnrecognizedClientException",
}
_NO_CREDENTIALS = (
    exceptions.CredentialRetrievalError,
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
_CONFLICTS = {"PreconditionFailed", "ConditionalRequestConflict", "ResourceExistsException"}
_PATIENCE = Config(
    connect_timeout=10,
    read_timeout=180,  # a migration may take its time
    retries={"mode": "standard", "total_max_attempts": 6},  # CloudFormation throttles soon
    max_pool_connections=16,
)


class Client:
    """One service in one region; threads may share it."""

    def __init__(self, session: boto3.Session, service: str, region: str) -> None:
        """Raises CloudError: no such region, no such profile."""
        self._where = f"{service} in {region}"
        make: Any = session.client
        with translated(self._where):
            self._client = make(service, region_name=region, config=_PATIENCE)

    def call(self, operation: str, **asked: Any) -> dict[str, Any]:
        """The answer as boto3 gives it. Raises CloudError."""
        run: Callable[..., dict[str, Any]] = getattr(self._client, operation)
        with translated(f"{self._where}: {operation}"):
            return run(**asked)

    def pages(self, operation: str, items: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """The items of all pages. Raises CloudError."""
        with translated(f"{self._where}: {operation}"):
            for page in self._client.get_paginator(operation).paginate(**asked):
                yield from page.get(items, ())

    def found(
        self, missing: tuple[str, ...], operation: str, **asked: Any
    ) -> dict[str, Any] | None:
        """As ``call``, but None where AWS answers one of the codes in ``missing``."""
        try:
            return self.call(operation, **asked)
        except CloudError as error:
            if error.code in missing:
                return None
            raise


@contextmanager
def translated(what: str) -> Iterator[None]:
    """botocore's faults as CloudError, with what was called."""
    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        said = str(error.response.get("Error", {}).get("Message", ""))
        kind = CredentialsExpired if code in _EXPIRED else CloudError
        kind = Conflict if code in _CONFLICTS else kind
        raise kind(code, f"{what}: {code}: {said}") from error
    except _NO_CREDENTIALS as error:
        raise CredentialsExpired("NoCredentials", f"{what}: {error}") from error
    except exceptions.BotoCoreError as error:
        raise CloudError(type(error).__name__, f"{what}: {error}") from error
