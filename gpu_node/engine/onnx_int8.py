"""Eight bit integers on the CPU, where an avatar's pictures bear it and where it is quicker.

Ranges are found by running the network on noise that comes and goes as syllables do; on speech its
pictures are held to 40 dB by a test (decision 0012).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from gpu_node.engine.port import Array
from gpu_node.features import SAMPLE_RATE_HZ, MelStream, audio_window

_LEAST_PSNR_DB = 42.0
"""40 are asked of any picture; these are of a few."""
_SECONDS, _SAMPLES, _HELD_OUT = 4.0, 16, 4
_RUNS = 5
_SYLLABLES_HZ = 8
_log = logging.getLogger(__name__)

Inputs = Mapping[str, npt.NDArray[np.float32]]
Open = Callable[[bytes], Any]


def networks(
    name: str, ear: bytes, painter: bytes, levels: Sequence[Inputs], session: Open
) -> tuple[Any, Any]:
    """Sessions of the audio encoder ``ear`` and of the ``painter`` of the avatar ``name``: both in
    eight bits if their pictures then keep 42 dB PSNR and come sooner, else both exact; exact also
    where eight bits cannot be had.

    ``levels``: what the painter is given of some frames beside the sound.
    """
    exact = session(ear), session(painter)
    try:
        return _tried(name, exact, (ear, painter), levels, session)
    except Exception:  # noqa: BLE001 - an odd graph, a full disk: the avatar is shown all the same
        _log.warning("avatar %s: eight bits cannot be had; painted exactly", name, exc_info=True)
        return exact


def _tried(
    name: str,
    exact: tuple[Any, Any],
    models: tuple[bytes, bytes],
    levels: Sequence[Inputs],
    session: Open,
) -> tuple[Any, Any]:
    windows = _windows()
    heard = [_heard(exact[0], one) for one in windows]
    inputs = [_inputs(heard, at, levels) for at in _spread(len(heard), _SAMPLES)]
    small = (
        session(_quantised(models[0], [{"window": one[None, None]} for one in windows[::4]])),
        session(_quantised(models[1], inputs)),
    )
    heard_small = [_heard(small[0], one) for one in windows]
    found, spent, spent_small = np.inf, [], []
    for at in _spread(len(heard), _HELD_OUT, between=True):
        wanted, took_s = _timed(exact[1], _inputs(heard, at, levels))
        made, took_small_s = _timed(small[1], _inputs(heard_small, at, levels))
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
    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> Inputs | None:
        """One after the other, then None."""
        return next(self._left, None)


def _quantised(model: bytes, inputs: Sequence[Inputs]) -> bytes:
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
        return made.read_bytes()


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


def _inputs(heard: Sequence[Array], at: int, levels: Sequence[Inputs]) -> dict[str, Array]:
    audio = audio_window(heard, at).reshape(1, 32, 16, 16)
    return {"audio": audio, **levels[at % len(levels)]}


def _timed(painter: Any, given: Inputs) -> tuple[npt.NDArray[np.uint8], float]:
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
