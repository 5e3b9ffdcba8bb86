"""Passwords of a quarter of an hour, signed with the function's own role: no store has another.

botocore loads at the first token: on one machine there is none.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, urlencode

TOKEN_TTL_S = 900


def token(service: str, region: str, host: str, query: dict[str, str]) -> str:
    """A presigned ``connect``, without its scheme: what ElastiCache and RDS take as a password.

    ``host`` is the cache's name (``elasticache``) or the database's host and port (``rds-db``).
    """
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    pair = Credentials(
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        os.environ.get("AWS_SESSION_TOKEN"),
    )
    request = AWSRequest("GET", f"https://{host}/?{urlencode({'Action': 'connect', **query})}")
    SigV4QueryAuth(pair, service, region, expires=TOKEN_TTL_S).add_auth(request)
    signed: str = request.prepare().url
    return signed.removeprefix("https://")


def split_options(url: str, *names: str) -> tuple[str, dict[str, str]]:
    """``url`` without those parts of its query that are ours, and their values."""
    plain, _, query = url.partition("?")
    given = dict(parse_qsl(query))
    own = {name: given.pop(name) for name in names if name in given}
    return (f"{plain}?{urlencode(given)}" if given else plain), own
