"""How well a mouth paints the part of a clip that it never saw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from gpu_node.synctalk import Generator
from ops.avatar.clip import ClipExamples, in_grid
from ops.avatar.learning import as_tensor, device, near_mouth

_BATCH = 16
_NEAR = 0.5
_SHIFTS = (0.25, 0.5, 0.75)
"""Of the part's length: how far the sound is turned to make it the wrong one."""


def held_out_report(
    generator: Generator, seen: ClipExamples, unseen: ClipExamples
) -> dict[str, float]:
    """Error and correlation around the mouth with the frames' own sound, and with other sound.

    ``l1`` is the mean error in 0..1; ``correlation`` is that of the region's brightness over time
    in painted and in real frames. The reference frames come from the part that was learned from.
    The same with the sound turned by a quarter, a half and three quarters tells how much of it is
    owed to the sound: ``l1_shuffled`` (the mean), ``correlation_shuffled`` (the largest).
    """
    real = _region(as_tensor(unseen.crops, torch.arange(len(unseen))))
    l1, course = _judged(generator, seen, unseen, 0)
    others = [_judged(generator, seen, unseen, round(s * len(unseen))) for s in _SHIFTS]
    wanted = real.mean(axis=1)
    return {
        "seconds": len(unseen) / 25,
        "l1": round(l1, 4),
        "l1_shuffled": round(float(np.mean([other for other, _ in others])), 4),
        "correlation": round(_correlation(course, wanted), 3),
        "correlation_shuffled": round(max(_correlation(c, wanted) for _, c in others), 3),
    }


@torch.no_grad()
def _judged(
    generator: Generator, seen: ClipExamples, unseen: ClipExamples, shift: int
) -> tuple[float, npt.NDArray[np.float64]]:
    """L1 around the mouth, and its brightness frame by frame, with the sound ``shift`` later."""
    model = generator.to(device())
    audio = torch.from_numpy(np.roll(unseen.audio, -shift, axis=0))
    # one picture of the part that was learned from, whose mouth tells nothing of the wanted one
    reference = as_tensor(seen.crops, torch.tensor([0]))
    errors, courses = [], []
    for picks in torch.split(torch.arange(len(unseen)), _BATCH):
        image = unseen.image(picks, picks)
        image[:, :3] = reference
        made = model(image.to(device()), in_grid(audio[picks]).to(device())).float().cpu()
        painted, real = _region(made), _region(as_tensor(unseen.crops, picks))
        errors.append(np.abs(painted - real).mean(axis=1))
        courses.append(painted.mean(axis=1))
    generator.cpu()
    return float(np.concatenate(errors).mean()), np.concatenate(courses)


def _region(pictures: torch.Tensor) -> npt.NDArray[np.float64]:
    """The pixels around the mouth of pictures (n, 3, h, w): (n, pixels)."""
    near = near_mouth(pictures.shape[-1]) > _NEAR
    region: npt.NDArray[np.float64] = pictures[:, :, near].flatten(1).double().numpy()
    return region


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
