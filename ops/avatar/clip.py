"""A filmed clip as examples for a mouth: every frame's crop, and what is heard around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gpu_node.avatars.crops import cut, mask_rectangle
from gpu_node.features import LOOKAHEAD_FRAMES, audio_window
from gpu_node.synctalk import AudioEncoder
from ops.avatar.dataset import Dataset, DatasetError, Scaled, read_pictures
from ops.avatar.idle import dataset_sound
from ops.avatar.learning import Batch, as_tensor, hear
from ops.avatar.rendering import windows_of

Array = npt.NDArray[np.float32]
Say = Callable[[str], None]
HELD_OUT = 0.1
_LEAST_FRAMES = 40
_TELL_EVERY = 1000


@dataclass(frozen=True, eq=False)
class ClipExamples:
    """Frames of a clip in order. crops: uint8 (n, crop, crop, 3) BGR; audio: (n, 16, 512).

    The generator sees the frame with its mouth masked, and another one, chosen at random, whole:
    so it cannot copy the mouth it is asked for.
    """

    crops: npt.NDArray[np.uint8]
    audio: Array

    @property
    def crop(self) -> int:
        """Side of its pictures in px."""
        return self.crops.shape[1]

    def __len__(self) -> int:
        return len(self.crops)

    def batch(self, picks: torch.Tensor) -> Batch:
        """Image, audio and wanted picture of the frames picked."""
        others = torch.randint(len(self), (len(picks),))
        audio = torch.from_numpy(self.audio[picks.numpy()])
        return self.image(others, picks), in_grid(audio), as_tensor(self.crops, picks)

    def image(self, reference: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
        """What the generator sees: (n, 6, crop, crop) in 0..1."""
        masked = as_tensor(self.crops, current)
        x0, y0, x1, y1 = mask_rectangle(self.crop)
        masked[:, :, y0:y1, x0:x1] = 0
        both = torch.cat([as_tensor(self.crops, reference), masked], dim=1)
        return both.contiguous(memory_format=torch.channels_last)

    def part(self, first: int, end: int) -> ClipExamples:
        """Some frames in a row."""
        return ClipExamples(self.crops[first:end], self.audio[first:end])


def in_grid(audio: torch.Tensor) -> torch.Tensor:
    """Features (n, 16, 512) as the generator takes them, (n, 32, 16, 16)."""
    return audio.reshape(-1, 32, 16, 16)


def read_clip(
    dataset: Dataset, sizes: Scaled, crop: int, border: int, ear: AudioEncoder, say: Say
) -> ClipExamples:
    """All frames of a dataset that have sound. Raises DatasetError."""
    sound = dataset_sound(dataset)
    if sound is None:
        raise DatasetError(
            f"{dataset.path / 'aud.wav'}: missing: lips learn from it; put the clip's sound there"
        )
    features = list(hear(ear, windows_of(sound.pcm)))
    kept = [at for at, number in enumerate(dataset.numbers) if number < len(features) - 1]
    if len(kept) < _LEAST_FRAMES:
        raise DatasetError(
            f"{dataset.path}: {len(kept)} frames with sound, less than {_LEAST_FRAMES}; "
            "film 3 to 5 minutes"
        )
    crops = np.empty((len(kept), crop, crop, 3), np.uint8)
    for at, picture in enumerate(read_pictures(dataset, kept, sizes)):
        crops[at] = cut(picture, sizes.box(dataset, kept[at]), crop, border)
        if (at + 1) % _TELL_EVERY == 0:
            say(f"frames: {at + 1} of {len(kept)}")
    audio = np.stack([audio_window(features, dataset.numbers[at]) for at in kept])
    return ClipExamples(crops, audio)


def split(clip: ClipExamples) -> tuple[ClipExamples, ClipExamples]:
    """What is learned from, and the last tenth, which is not; no sound is in both."""
    first = round(len(clip) * (1 - HELD_OUT))
    return clip.part(0, first - LOOKAHEAD_FRAMES), clip.part(first, len(clip))
