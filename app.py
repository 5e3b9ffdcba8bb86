"""Chalice entry: the app and its blueprints, nothing else."""

# ruff: noqa: E402
import gc

gc.disable()  # what imports make stays: to look for garbage in it takes a tenth of a cold start

from chalice.app import Chalice

from control.entrypoints import (
    cell_api,
    fleet_api,
    peers_api,
    sessions_api,
    timetable_api,
    workers_api,
)

app = Chalice(app_name="rapido")
for module in (sessions_api, workers_api, timetable_api, peers_api, cell_api, fleet_api):
    app.register_blueprint(module.blueprint)

gc.freeze()
gc.enable()
