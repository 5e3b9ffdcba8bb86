"""A film of an avatar saying what is in a sound file, made by the parts a worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpu_node.avatars import Avatar
from gpu_node.engine import Engine
from gpu_node.features import FPS, SAMPLE_RATE_HZ
from ops.avatar.rendering import rendered
from ops.film import RATE_HZ, write_film
from ops.sound import SoundError, read_sound

Say = Callable[[str], None]
_TELL_EVERY = 10 * FPS


def preview(
    avatar: Avatar, engine: Engine, wav: Path, out: Path, seconds: float, say: Say
) -> dict[str, object]:
    """Writes an MP4 of the first ``seconds``. Raises SoundError and AvatarError."""
    if out.suffix != ".mp4":
        raise SoundError(f"{out}: the preview is an MP4; name it so, as preview.mp4")
    heard = read_sound(wav, SAMPLE_RATE_HZ, seconds)
    sound = read_sound(wav, RATE_HZ, seconds)
    if heard.cut:
        say(f"{wav}: longer than {seconds:g} s; the first {seconds:g} s are rendered (--seconds)")
    count = -(-len(heard.pcm) * FPS // SAMPLE_RATE_HZ)
    pictures = _told(rendered(avatar, engine, heard.pcm, count), count, say)
    whole = np.zeros(count * RATE_HZ // FPS, np.float32)
    kept = min(len(whole), len(sound.pcm))
    whole[:kept] = sound.pcm[:kept]
    write_film(out, avatar.size, pictures, whole)
    return {"file": str(out), "seconds": count / FPS, "frames": count, "cut": heard.cut}


def _told(
    pictures: Iterator[npt.NDArray[np.uint8]], count: int, say: Say
) -> Iterator[npt.NDArray[np.uint8]]:
    for at, picture in enumerate(pictures, 1):
        yield picture
        if at % _TELL_EVERY == 0 or at == count:
            say(f"rendered {at} of {count} frames")
