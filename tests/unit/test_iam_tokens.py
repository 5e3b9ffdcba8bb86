"""Tokens that ElastiCache and RDS take as passwords."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from control.adapters.iam_tokens import TOKEN_TTL_S, split_options, token


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made up")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/session+token=")


@pytest.mark.usefixtures("role")
def test_the_databases_token_is_the_one_that_aws_own_library_makes() -> None:
    def both() -> tuple[str, str]:
        theirs = boto3.client("rds", region_name="eu-central-1").generate_db_auth_token(
            DBHostname="db.example.com", Port=5432, DBUsername="rapido"
        )
        return token("rds-db", "eu-central-1", "db.example.com:5432", {"DBUser": "rapido"}), theirs

    def parts(text: str) -> tuple[str, dict[str, list[str]]]:
        url = urlsplit(f"https://{text}")
        return url.netloc, parse_qs(url.query)

    ours, theirs = both()
    while parts(ours)[1]["X-Amz-Date"] != parts(theirs)[1]["X-Amz-Date"]:  # a second went by
        ours, theirs = both()

    assert parts(ours) == parts(theirs)


@pytest.mark.usefixtures("role")
def test_the_stores_token_names_cache_user_and_role_and_lives_a_quarter_of_an_hour() -> None:
    found = urlsplit("https://" + token("elasticache", "us-east-1", "rapido-a", {"User": "u-1"}))

    query = {name: values[0] for name, values in parse_qs(found.query).items()}
    assert (found.netloc, found.path) == ("rapido-a", "/")
    assert (query["Action"], query["User"]) == ("connect", "u-1")
    assert query["X-Amz-Credential"].endswith("/us-east-1/elasticache/aws4_request")
    assert query["X-Amz-Security-Token"] == "a/session+token="
    assert int(query["X-Amz-Expires"]) == TOKEN_TTL_S == 900


def test_what_is_ours_is_taken_out_of_an_address_and_the_rest_is_left() -> None:
    address = "postgresql://rapido@/rapido?host=%2Ftmp%2Fdb&sslmode=require&iam=true"

    plain, ours = split_options(address, "iam", "cluster")

    assert plain == "postgresql://rapido@/rapido?host=%2Ftmp%2Fdb&sslmode=require"
    assert ours == {"iam": "true"}
    assert split_options("redis://store:6379/0", "iam") == ("redis://store:6379/0", {})
