"""A client of any cell's HTTP API, for the command line, the demo and the tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx

STATE = Path(".rapido")


class CallError(Exception):
    """The cell refused; the message is its own, with what to do."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        faults = "; ".join(
            f"{one['field']} {one['fault']}: {one['remedy']}" for one in problem.get("errors", ())
        )
        detail = problem.get("detail", "")
        super().__init__(f"{problem.get('title', status)}. {faults or detail}")

    @property
    def slug(self) -> str:
        """The problem's stable name."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class NoCell(Exception):
    """No cell was named and none is up here."""


def running_cell(name: str | None = None) -> dict[str, Any]:
    """What ``rapido up`` wrote about the cell that is up in this folder. Raises NoCell."""
    found = sorted(STATE.glob(f"{name or '*'}/cell.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise NoCell("no cell is up here: run `rapido up`, or give --url and --key")
    facts: dict[str, Any] = json.loads(found[-1].read_text())
    return facts


def connect(url: str | None, key: str | None, operator: bool = False) -> CellClient:
    """By --url and --key, else RAPIDO_URL and RAPIDO_KEY, else the cell that is up here.

    For an operator's call RAPIDO_OPERATOR_KEY, or the key of the cell that is up at that address,
    goes before RAPIDO_KEY. Raises NoCell.
    """
    url = url or os.environ.get("RAPIDO_URL")
    if operator:
        key = key or os.environ.get("RAPIDO_OPERATOR_KEY")
        if url and not key:
            key = _operator_key_of(url)
    key = key or os.environ.get("RAPIDO_KEY")
    if not url or not key:
        facts = running_cell()
        if url not in (None, facts["url"]):
            raise NoCell(f"no key for {url}: give --key, or set RAPIDO_KEY")
        url = url or facts["url"]
        key = key or facts["operator_key" if operator else "client_key"]
    return CellClient(str(url), str(key))


def _operator_key_of(url: str) -> str | None:
    """Of the cell that is up here, if that is its address."""
    try:
        facts = running_cell()
    except NoCell:
        return None
    return str(facts["operator_key"]) if facts["url"] == url.rstrip("/") else None


def replayed(why: dict[str, Any]) -> str | None:
    """The worker that the domain's own rules choose from what ``GET …/why`` kept."""
    from control.domain.placement import choose, terms

    chosen = choose(
        terms(
            one["worker_id"],
            one["terms"]["distance"],
            one["slots"],
            one["used"],
            one["lateness_ms"],
            one["holds_avatar"],
            one["starts"],
            one["order"],
        )
        for one in why["candidates"]
    )
    return None if chosen is None else chosen.worker_id


class CellClient:
    """Every call raises CallError with the cell's own words."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=15.0)

    def __enter__(self) -> CellClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """One call; {} for an empty answer."""
        answer = self._http.request(method, path, json=body, params=query)
        if answer.status_code >= 400:
            try:
                problem = answer.json()
            except ValueError:
                problem = {"title": f"HTTP {answer.status_code}", "detail": answer.text[:200]}
            raise CallError(answer.status_code, problem)
        return dict(answer.json()) if answer.content else {}

    def start(self, lesson: str, **more: Any) -> dict[str, Any]:
        """Starts the lesson's avatar, or finds it."""
        return self.call("POST", "/api/v1/sessions", {"lesson_id": lesson, **more})

    def show(self, session: str) -> dict[str, Any]:
        """The session."""
        return self.call("GET", f"/api/v1/sessions/{session}")

    def end(self, session: str) -> None:
        """Again and again is the same."""
        self.call("DELETE", f"/api/v1/sessions/{session}")

    def token(self, session: str, role: str, identity: str | None = None) -> dict[str, Any]:
        """A room token for a learner or a voice."""
        body = {"role": role} | ({"identity": identity} if identity else {})
        return self.call("POST", f"/api/v1/sessions/{session}/token", body)
