"""What an operator's AWS credentials may ask of the cell."""

from __future__ import annotations

from typing import Any

import pytest

from control import bootstrap
from control.adapters.records import as_user
from control.entrypoints import admin


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls: list[tuple[str, ...]] = []

    def create(tenant: str, role: str) -> str:
        calls.append((tenant, role))
        return "rk_new"

    monkeypatch.setattr(bootstrap, "create_key", create)
    monkeypatch.setattr(bootstrap, "migrate", lambda: calls.append(("migrate",)))
    return calls


def test_tables_are_made(made: list[tuple[str, ...]]) -> None:
    assert admin.handle({"do": "migrate"}, None) == {"migrated": True}
    assert made == [("migrate",)]


def test_a_key_is_shown_once_and_never_logged(
    made: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"do": "create-key", "tenant": "school", "role": "operator"}

    assert admin.handle(asked, None) == {"key": "rk_new"}

    assert made == [("school", "operator")]
    assert "rk_new" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"do": "drop"},
        {"do": "create-key", "tenant": "", "role": "client"},
        {"do": "create-key", "tenant": "school", "role": "root"},
        {"do": "create-key", "role": "client"},
    ],
)
def test_what_is_not_known_is_told_with_what_is(
    asked: dict[str, Any], made: list[tuple[str, ...]]
) -> None:
    with pytest.raises(admin.BadRequest, match=r'send \{"do": "migrate"\}'):
        admin.handle(asked, None)
    assert made == []


def test_the_owner_enters_by_a_password_of_any_letters() -> None:
    url = as_user("postgresql://rapido@db:5432/rapido?sslmode=require&iam=true", "owner", "a/b@c:d")

    assert url == "postgresql://owner:a%2Fb%40c%3Ad@db:5432/rapido?sslmode=require"
