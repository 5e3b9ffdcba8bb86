"""The ``rapido`` command. Heavy parts are imported by the command that needs them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ops.avatar.cli import avatar
from ops.bench import BENCHES
from ops.deploy.cli import deploy, plan
from ops.deploy.cli_key import key
from ops.deploy.cli_stage import destroy, status
from ops.fleet.cli import fleet
from ops.simulate.fleet.command import simulate_fleet
from ops.terminal import Json, Key, Url, console
from ops.terminal import print_result as _print
from ops.timetable.cli import timetable
from ops.up import up

app = typer.Typer(
    help="Talking, lip-synced avatars for lessons: a fleet behind one address.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
session = typer.Typer(help="Sessions: one lesson's avatar each.", no_args_is_help=True)
worker = typer.Typer(help="Workers, for operators.", no_args_is_help=True)
simulate = typer.Typer(help="Trials without machines, each the same again.", no_args_is_help=True)
app.add_typer(session, name="session")
app.add_typer(worker, name="worker")
app.add_typer(avatar, name="avatar")
app.add_typer(simulate, name="simulate")
app.add_typer(key, name="key")
app.add_typer(timetable, name="timetable")
app.add_typer(fleet, name="fleet")
app.command()(up)
for _command in (deploy, plan, status, destroy):
    app.command(rich_help_panel="The cells on AWS")(_command)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the proof goes.")] = Path("out/demo"),
    name: Annotated[str, typer.Option(help="The cell's name.")] = "demo",
) -> None:
    """Two lessons at once on a whole cell; film, pictures and figures of what a learner got."""
    from ops.demo.run import run

    if not run(out, name, console):
        raise typer.Exit(1)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help=f"{', '.join(BENCHES)}, or all of them.")],
    quick: Annotated[bool, typer.Option(help="Less of everything: a minute a bench.")] = False,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("out/bench"),
) -> None:
    """Measure a part; the file out/bench/NAME.json has each figure beside its baseline."""
    from ops.bench import find
    from ops.figures import show

    if name not in (*BENCHES, "all"):
        known = ", ".join(BENCHES)
        raise typer.BadParameter(f"{name}: not a bench; there is {known}", param_hint="NAME")
    held = True
    for one in BENCHES if name == "all" else (name,):
        began = time.monotonic()

        def say(line: str, bench: str = one, began: float = began) -> None:
            clock = f"[{bench}] {time.monotonic() - began:5.1f} s  "
            console.print(clock + line, markup=False, highlight=False, soft_wrap=True)

        figures = find(one)(out, quick, say)
        show(figures, console)
        held = held and all(figure.holds is not False for figure in figures.values())
    if not held:
        raise typer.Exit(1)


@session.command("start")
def session_start(
    lesson: str,
    avatar_name: Annotated[str, typer.Option("--avatar", help="Which face.")] = "demo",
    class_id: Annotated[
        str | None, typer.Option(help="The announced class: its held slots are taken first.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Start LESSON's avatar, or find the one it has."""
    from ops.client import connect

    with connect(url, key) as client:
        more = {} if class_id is None else {"class_id": class_id}
        _print(client.start(lesson, avatar=avatar_name, **more), as_json)


@session.command("show")
def session_show(session_id: str, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """One session."""
    from ops.client import connect

    with connect(url, key) as client:
        _print(client.show(session_id), as_json)


@session.command("list")
def session_list(
    status: Annotated[str | None, typer.Option(help="Only of this status.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """The newest sessions."""
    from ops.client import connect

    with connect(url, key) as client:
        page = client.call("GET", "/api/v1/sessions", query={"status": status} if status else None)
    if as_json:
        _print(page, True)
        return
    table = Table("session", "lesson", "status", "worker", "reason")
    for one in page["sessions"]:
        table.add_row(
            one["session_id"], one["lesson_id"], one["status"], one["worker_id"], one["reason"]
        )
    console.print(table)


@session.command("why")
def session_why(
    session_id: str,
    replay: Annotated[
        bool, typer.Option(help="Choose again from what was kept; exit 1 if it differs.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Which workers were considered for a session, and what each scored."""
    from ops.client import connect, replayed

    with connect(url, key) as client:
        why = client.call("GET", f"/api/v1/sessions/{session_id}/why")
    again = replayed(why) if replay else None
    if as_json:
        _print({**why, "replayed": again} if replay else why, True)
    else:
        _show_why(why)
    if replay and not as_json:
        verdict = "agrees" if again == why["chosen"] else f"would choose {again}"
        console.print(f"chosen again from what was kept: {verdict}", highlight=False)
    if replay and again != why["chosen"]:
        raise typer.Exit(1)


def _show_why(why: dict[str, Any]) -> None:
    table = Table("worker", "used", "starts", *why["weights"], "order", "score", "")
    for one in why["candidates"]:
        numbers = [f"{v:.2f}" for v in (*one["terms"].values(), one["order"], one["score"])]
        notes = ["chosen"] if one["worker_id"] == why["chosen"] else []
        notes += ["holds the avatar"] if one["holds_avatar"] else []
        used = f"{one['used']} of {one['slots']}"
        table.add_row(one["worker_id"], used, str(one["starts"]), *numbers, ", ".join(notes))
    console.print(table)
    weights = ", ".join(f"{name} {weight:g}" for name, weight in why["weights"].items())
    console.print(f"weights: {weights}; at {why['store_time']}", highlight=False)
    if why["held"]:
        console.print("it took a slot that was held for its class; others were not considered")
    if why["excluded"]:
        console.print(f"left out, for they had failed: {', '.join(why['excluded'])}")


@session.command("end")
def session_end(session_id: str, url: Url = None, key: Key = None) -> None:
    """End a session; again and again is the same."""
    from ops.client import connect

    with connect(url, key) as client:
        client.end(session_id)


@app.command()
def say(
    session_id: str,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A WAV file.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Speak FILE.wav through a session's avatar, and wait until it was heard."""
    import asyncio

    from ops.client import connect
    from ops.sound import SoundError, read_speech
    from ops.speaker import LONGEST_S, Speaker

    try:
        sound = read_speech(file, LONGEST_S)
    except SoundError as error:
        raise typer.BadParameter(str(error)) from error
    with connect(url, key) as client:
        grant = client.token(session_id, "voice")

    async def speak() -> dict[str, Any]:
        speaker = Speaker(f"avatar-{session_id}")
        await speaker.join(grant["url"], grant["token"])
        await speaker.say(sound.pcm, sound.rate_hz)
        report = await asyncio.wait_for(speaker.finished.get(), sound.duration_s + 20)
        await speaker.leave()
        return report

    _print(asyncio.run(speak()), False)


@worker.command("list")
def worker_list(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """All workers of the cell."""
    from ops.client import connect

    with connect(url, key, operator=True) as client:
        page = client.call("GET", "/api/v1/workers")
    if as_json:
        _print(page, True)
        return
    table = Table("worker", "state", "alive", "slots", "used", "order", "late p95", "hardware")
    for one in page["workers"]:
        hardware = one["hardware"]
        table.add_row(
            one["worker_id"],
            one["state"],
            "yes" if one["alive"] else "no",
            str(one["slots"]),
            f"{one['used']} ({one['held']} held)" if one["held"] else str(one["used"]),
            "closed" if one["order"] is None else f"{one['order']:g}",
            f"{one['lateness_p95_ms']:.1f} ms",
            hardware["gpu"] or hardware["cpu"],
        )
    console.print(table)


@worker.command("show")
def worker_show(worker_id: str, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """One worker."""
    from ops.client import connect

    with connect(url, key, operator=True) as client:
        page = client.call("GET", "/api/v1/workers")
    found = [one for one in page["workers"] if one["worker_id"] == worker_id]
    if not found:
        console.print(f"no worker {worker_id} in this cell; see rapido worker list", style="red")
        raise typer.Exit(1)
    _print(found[0], as_json)


@worker.command("drain")
def worker_drain(worker_id: str, url: Url = None, key: Key = None) -> None:
    """No new session on that worker from now on; its sessions end by themselves."""
    from ops.client import connect

    with connect(url, key, operator=True) as client:
        client.call("POST", f"/api/v1/workers/{worker_id}/drain", {})


@simulate.command("faults")
def simulate_faults(
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 100,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Deliberate bugs, each against that many seeds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """A cell under faults: nothing oversold, no slot leaked, every lesson served or told."""
    from ops.simulate.report import print_mutants, print_trials

    show = print_mutants if mutants else print_trials
    if not show(console, seed, runs, as_json):
        raise typer.Exit(1)


simulate.command("fleet")(simulate_fleet)


def main() -> None:
    """Runs a command; what a user can mend is one line, exit 1."""
    import httpx

    from ops.cell.at_desk import DeskRefused
    from ops.cell.supervisor import PartError
    from ops.client import CallError, NoCell

    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except (CallError, DeskRefused, NoCell, PartError, httpx.TransportError) as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
