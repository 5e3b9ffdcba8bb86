"""Eight bit integers on the CPU, where an avatar's pictures bear it and where it is quicker.

Ranges are found by running the network on noise that comes and goes as syllables do; on speech its
pictures are held to 40 dB by a test (decision 0012).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from gpu_node.engine import graphs
from gpu_node.engine.onnx_cut import cut
from gpu_node.engine.port import Array
from gpu_node.features import SAMPLE_RATE_HZ, MelStream, audio_window

_LEAST_PSNR_DB = 42.0
"""40 are asked of any picture; these are of a few."""
_SECONDS, _SAMPLES, _HELD_OUT = 4.0, 16, 4
_RUNS = 5
_SYLLABLES_HZ = 8
_log = logging.getLogger(__name__)

Levels = Mapping[str, npt.NDArray[Any]]
"""Arrays by the name of the input that they are for."""
Open = Callable[[bytes], Any]


@dataclass(frozen=True, eq=False)
class Networks:
    """Sessions. ``painter`` is given the levels as ``kept`` makes them, where there is one."""

    ear: Any
    painter: Any
    kept: Any | None = None

    def keep(self, levels: Levels) -> Levels:
        """What is to be kept of a frame, of its six levels."""
        return levels if self.kept is None else run(self.kept, levels)


def networks(
    name: str, ear: bytes, painter: bytes, levels: Sequence[Levels], session: Open
) -> Networks:
    """The audio encoder ``ear`` and the ``painter`` of the avatar ``name``: both in eight bits if
    their pictures then keep 42 dB PSNR and come sooner, else both exact; exact also where eight
    bits cannot be had.

    ``levels``: what the painter is given of some frames beside the sound.
    """
    exact = Networks(session(ear), session(painter))
    try:
        return _tried(name, exact, (ear, painter), levels, session)
    except Exception:  # noqa: BLE001 - an odd graph, a full disk: the avatar is shown all the same
        _log.warning("avatar %s: eight bits cannot be had; painted exactly", name, exc_info=True)
        return exact


def run(session: Any, given: Levels) -> Levels:
    """All its outputs, by name."""
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def _tried(
    name: str,
    exact: Networks,
    models: tuple[bytes, bytes],
    levels: Sequence[Levels],
    session: Open,
) -> Networks:
    windows = _windows()
    heard = [_heard(exact.ear, one) for one in windows]
    sounds = [_sound(heard, at) for at in _spread(len(heard), _SAMPLES)]
    given = [{**sound, **levels[at % len(levels)]} for at, sound in enumerate(sounds)]
    ear = _quantised(models[0], [{"window": one[None, None]} for one in windows[::4]])
    # of what is added to the mouth at each size, in eight bits as large as the levels in 32
    kept, painter = cut(_quantised(models[1], given), graphs.LEVELS)
    small = Networks(*(session(one.SerializeToString()) for one in (ear, painter, kept)))
    heard_small = [_heard(small.ear, one) for one in windows]
    found, spent, spent_small = np.inf, [], []
    for at in _spread(len(heard), _HELD_OUT, between=True):
        frame = levels[at % len(levels)]
        wanted, took_s = _timed(exact.painter, {**_sound(heard, at), **frame})
        made, took_small_s = _timed(small.painter, {**_sound(heard_small, at), **small.keep(frame)})
        found = min(found, _psnr_db(made, wanted))
        spent.append(took_s)
        spent_small.append(took_small_s)
    good, quicker = found >= _LEAST_PSNR_DB, min(spent_small) < min(spent)
    _log.info(
        "avatar %s: eight bits keep %.1f dB and take %.1f ms a frame instead of %.1f: %s",
        name,
        found,
        1e3 * min(spent_small),
        1e3 * min(spent),
        "taken" if good and quicker else "not taken",
    )
    return small if good and quicker else exact


class _Given(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Sequence[Levels]) -> None:
        self._left: Iterator[Levels] = iter(inputs)

    def get_next(self) -> Levels | None:
        """One after the other, then None."""
        return next(self._left, None)


def _quantised(model: bytes, inputs: Sequence[Levels]) -> onnx.ModelProto:
    """All but what follows the last depthwise convolution: its rounding is seen at full size."""
    graph = onnx.load_from_string(model)
    onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.onnx"
        quantize_static(
            graph,
            made,
            _Given(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # weights of seven: without VNNI sums of products of eight overflow
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_tail(graph),
        )
        return onnx.load(made)


def _tail(graph: onnx.ModelProto) -> list[str]:
    nodes = list(graph.graph.node)
    groups = [next((one.i for one in node.attribute if one.name == "group"), 1) for node in nodes]
    last = max((at for at, group in enumerate(groups) if group > 1), default=len(nodes))
    return [node.name for node in nodes[last:]]


def _windows() -> list[Array]:
    """Mel windows of the noise."""
    random = np.random.default_rng(7)
    samples = int(_SECONDS * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(random.normal(size=samples))
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 80.0)), samples)
    loudness = random.uniform(0, 1, int(_SECONDS * _SYLLABLES_HZ)) ** 2
    sound = noise / np.abs(noise).max() * np.repeat(loudness, SAMPLE_RATE_HZ // _SYLLABLES_HZ)
    mel = MelStream()
    mel.push((0.9 * sound).astype(np.float32))
    mel.finish()
    return mel.windows()


def _spread(length: int, count: int, *, between: bool = False) -> list[int]:
    """``count`` places; or those in the middle between them."""
    step = length // count
    return [at * step + (step // 2 if between else 0) for at in range(count)]


def _heard(ear: Any, window: Array) -> Array:
    return np.asarray(ear.run(["feature"], {"window": window[None, None]})[0][0])


def _sound(heard: Sequence[Array], at: int) -> Levels:
    return {"audio": audio_window(heard, at).reshape(1, 32, 16, 16)}


def _timed(painter: Any, given: Levels) -> tuple[npt.NDArray[np.uint8], float]:
    """The picture, and the least seconds that it took."""
    took = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        made = painter.run(["picture"], given)[0]
        took.append(time.perf_counter() - began)
    return made, min(took)


def _psnr_db(made: npt.NDArray[np.uint8], wanted: npt.NDArray[np.uint8]) -> float:
    error = made.astype(np.float64) - wanted
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean(error**2)))))
