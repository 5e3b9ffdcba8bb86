"""Which cell a command speaks to, and with whose key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops import client
from ops.client import NoCell, connect

URL = "http://127.0.0.1:8600"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RAPIDO_URL", "RAPIDO_KEY", "RAPIDO_OPERATOR_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def cell_up(folder: Path) -> None:
    facts = {"url": URL, "client_key": "rk_client", "operator_key": "rk_operator"}
    (folder / client.STATE / "desk").mkdir(parents=True)
    (folder / client.STATE / "desk" / "cell.json").write_text(json.dumps(facts))


def key_used(url: str | None = None, *, operator: bool = False) -> str:
    with connect(url, None, operator) as found:
        return str(found._http.headers["Authorization"]).removeprefix("Bearer ")


def test_the_cell_that_is_up_here_needs_no_words(folder: Path) -> None:
    cell_up(folder)

    assert key_used() == "rk_client"
    assert key_used(operator=True) == "rk_operator"


def test_an_operators_call_takes_an_operators_key_where_a_clients_is_exported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell_up(folder)
    monkeypatch.setenv("RAPIDO_URL", URL)
    monkeypatch.setenv("RAPIDO_KEY", "rk_exported")

    assert key_used() == "rk_exported"
    assert key_used(operator=True) == "rk_operator"
    monkeypatch.setenv("RAPIDO_OPERATOR_KEY", "rk_other")
    assert key_used(operator=True) == "rk_other"


def test_the_key_of_the_cell_up_here_is_not_sent_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell_up(folder)
    with pytest.raises(NoCell, match="RAPIDO_KEY"):
        connect("https://rapido.example", None)

    monkeypatch.setenv("RAPIDO_KEY", "rk_exported")

    assert key_used("https://rapido.example", operator=True) == "rk_exported"


def test_no_cell_says_what_to_do() -> None:
    with pytest.raises(NoCell, match="rapido up"):
        connect(None, None)
