"""``rapido avatar``: from a film of a face to an avatar that is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.terminal import Json, print_fault, print_result, tell

avatar = typer.Typer(help="Avatars: make, import, check, look.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An avatar's name, or its package's folder.")]
Out = Annotated[Path | None, typer.Option(help="The package's folder; avatars/NAME if not given.")]
Frames = Annotated[int, typer.Option(help="Frames of the idle loop, 25 a second.")]
Start = Annotated[
    int | None, typer.Option(help="Picture at which the idle loop begins; else the quietest.")
]
Encoder = Annotated[
    Path | None, typer.Option(help="The audio encoder's weights, .pth or .safetensors.")
]
Licence = Annotated[str, typer.Option(help="What the manifest says about who may use the face.")]


@contextmanager
def _faults() -> Iterator[None]:
    """What a user can mend is one line, exit 1."""
    from gpu_node.avatars.package import AvatarError
    from ops.avatar.dataset import DatasetError
    from ops.sound import SoundError

    try:
        yield
    except (AvatarError, DatasetError, SoundError) as error:
        print_fault(error)
        raise typer.Exit(1) from None
    except ModuleNotFoundError as error:
        remedy = _REMEDIES.get(error.name or "")
        if remedy is None:
            raise
        print_fault(ModuleNotFoundError(f"{error.name} is not installed: {remedy}"))
        raise typer.Exit(1) from None


_REMEDIES = {
    "torch": "reading .pth files and training need it; install rapido[training]",
    "resvg_py": "drawing needs it; install rapido[training]",
    "mediapipe": "finding landmarks needs it; install rapido[landmarks]",
}


@avatar.command("prepare")
def avatar_prepare(
    film: Annotated[Path, typer.Argument(help="A film of one face, speaking.")],
    folder: Annotated[Path, typer.Argument(help="The dataset's folder; it must not exist.")],
    model: Annotated[
        Path, typer.Option(help="MediaPipe's model file; see docs/avatars.md.")
    ] = Path("face_landmarker.task"),
    size: Annotated[int, typer.Option(help="Pictures are made no higher than this (px).")] = 720,
    as_json: Json = False,
) -> None:
    """A film of a face to a dataset: frames at 25 a second, landmarks, sound."""
    with _faults():
        from ops.avatar.faces import MediaPipe
        from ops.avatar.preparing import prepare

        with MediaPipe(model) as detector:
            made = prepare(film, folder, detector, size, _progress(as_json))
        print_result({"folder": str(folder), **made}, as_json)


@avatar.command("import")
def avatar_import(
    checkpoint: Annotated[
        Path, typer.Option(help="SyncTalk 2D weights, or a folder: its highest number.")
    ],
    dataset: Annotated[Path, typer.Option(help="The dataset it was trained on.")],
    audio_encoder: Encoder = None,
    name: Annotated[str | None, typer.Option(help="Else the dataset folder's name.")] = None,
    out: Out = None,
    frames: Frames = 125,
    start: Start = None,
    size: Annotated[int, typer.Option(help="Pictures are made no higher than this (px).")] = 720,
    licence: Licence = "unknown",
    as_json: Json = False,
) -> None:
    """A published SyncTalk 2D checkpoint and dataset to an avatar's package."""
    with _faults():
        from ops.avatar.importing import Wanted, import_avatar, name_of

        called = name_of(name or dataset.resolve().name)
        wanted = Wanted(checkpoint, dataset, called, audio_encoder, frames, start, size, licence)
        target = out or Path("avatars") / called
        manifest = import_avatar(wanted, target, _progress(as_json))
        _print_package(target, manifest, as_json)


@avatar.command("train")
def avatar_train(
    dataset: Annotated[
        Path | None, typer.Option(help="Train from this clip; else the drawn demo one.")
    ] = None,
    out: Out = None,
    minutes: Annotated[
        float | None, typer.Option(help="How long the mouth learns: 30, the demo's 16.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    name: Annotated[str | None, typer.Option(help="Else the dataset folder's name.")] = None,
    crop: Annotated[int, typer.Option(help="Side of what the network paints, px.")] = 160,
    width: Annotated[int, typer.Option(help="Channels of its first layer.")] = 16,
    size: Annotated[int, typer.Option(help="Pictures are made no higher than this (px).")] = 512,
    frames: Frames = 125,
    start: Start = None,
    audio_encoder: Encoder = None,
    licence: Licence = "unknown",
    as_json: Json = False,
) -> None:
    """Train an avatar from a clip, or the demo one anew: draw it, speak to it, measure it."""
    with _faults():
        if dataset is None:
            _train_demo(out, minutes, resume)
            return
        from ops.avatar.clip_training import ClipPlan, train_clip
        from ops.avatar.importing import name_of

        called = name_of(name or dataset.resolve().name)
        plan = ClipPlan(
            dataset, called, minutes or 30.0, crop, width, audio_encoder, frames, start, size,
            licence,
        )  # fmt: skip
        target = out or Path("avatars") / called
        manifest = train_clip(plan, target, _progress(as_json), resume=resume)
        _print_package(target, manifest, as_json)


def _train_demo(out: Path | None, minutes: float | None, resume: bool) -> None:
    from ops.avatar.training import DEMO, Plan, train

    if resume:
        raise typer.BadParameter("the demo avatar is trained in one go; give --dataset to resume")
    train(Plan() if minutes is None else Plan(minutes=minutes), out or DEMO, tell)


@avatar.command("check")
def avatar_check(name: Name, as_json: Json = False) -> None:
    """Try everything of an avatar: files, digests, weights, boxes, one frame."""
    with _faults():
        from gpu_node.engine import make_engine
        from ops.avatar.inspection import inspect

        print_result(inspect(name, make_engine("cpu", threads=2)), as_json)


@avatar.command("show")
def avatar_show(
    name: Name,
    wav: Annotated[Path, typer.Option(help="What it says: a WAV file of any usual kind.")],
    out: Annotated[Path, typer.Option(help="The film.")] = Path("preview.mp4"),
    seconds: Annotated[float, typer.Option(min=0.04, help="Render no more than this.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Render a film of an avatar speaking, by the engine and the compositor of a worker."""
    with _faults():
        from gpu_node.engine import make_engine
        from ops.avatar.inspection import load_named
        from ops.avatar.preview import preview

        engine = make_engine("cpu", threads=2)
        made = preview(load_named(name), engine, wav, out, seconds, _progress(as_json))
        print_result(made, as_json)


@avatar.command("draw")
def avatar_draw(
    folder: Annotated[Path, typer.Argument(help="The dataset's folder, or a film's .mp4.")],
    seconds: Annotated[float, typer.Option(min=2.0, help="How long she speaks.")] = 60.0,
) -> None:
    """The drawn tutor as a dataset in the published layout, or as a film: something to try on."""
    with _faults():
        from gpu_node.avatars.package import AvatarError
        from ops.avatar.drawn import draw_dataset, draw_film

        if folder.exists():
            raise AvatarError(f"{folder}: is there already; name another, or remove it")
        film = folder.suffix == ".mp4"
        count = draw_film(folder, seconds) if film else draw_dataset(folder, seconds, tell)
        tell(f"{folder}: {count} frames and their sound")


def _progress(as_json: bool) -> Any:
    """Progress goes where no JSON is printed."""
    return (lambda line: typer.echo(line, err=True)) if as_json else tell


def _print_package(target: Path, manifest: dict[str, Any], as_json: bool) -> None:
    kept = ("name", "size", "frames", "crop", "width", "border", "trained", "held_out")
    size = sum(file.stat().st_size for file in target.iterdir()) / 2**20
    facts = {key: manifest[key] for key in kept if key in manifest}
    print_result({"folder": str(target), "mib": round(size, 1), **facts}, as_json)
