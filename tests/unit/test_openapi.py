"""The committed description and the template are the code's."""

from __future__ import annotations

from pathlib import Path

from app import app
from control.entrypoints import cell_api, openapi
from control.entrypoints.http import ROUTES
from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml


def test_the_committed_openapi_file_is_the_codes() -> None:
    remedy = "run python -m control.entrypoints.openapi"
    assert cell_api.OPENAPI.read_text() == openapi.text(), remedy


def test_the_template_names_every_route_with_its_credentials() -> None:
    functions = read_yaml(Path(ROOT / "template.yaml"))["Resources"]
    events = functions["ApiFunction"]["Properties"]["Events"].values()
    named = {
        (e["Properties"]["Method"].upper(), e["Properties"]["Path"], "Auth" in e["Properties"])
        for e in events
    }
    assert named == {(r.method, r.path, r.signed) for r in ROUTES}


def test_the_app_serves_every_described_route() -> None:
    served = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert served == {(route.method, route.path) for route in ROUTES}
