"""The GPU's bench runs, on a CPU and small, and writes what it measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ops.bench import engine_gpu


def test_the_bench_runs_on_a_cpu_and_writes_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_gpu, "_MOST_STREAMS", 8)
    out = tmp_path / "engine_gpu.json"
    given = ["--device", "cpu", "--crop", "96", "--width", "2", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", ["engine_gpu", *given, "--out", str(out)])

    assert engine_gpu.main() == 0

    report = json.loads(out.read_text())
    figures = report["figures"]
    assert report["machine"]["gpu"] is None
    assert figures["psnr_gpu_picture_db"]["holds"] is True
    assert {f"frames_batch_{size}" for size in (1, 2, 4, 8, 16, 32)} <= figures.keys()
    assert all(figures[name]["value"] > 0 for name in figures if name.startswith("frames_"))
    assert figures["full_vs_reference_gpu"]["ratio"] > 0
    assert figures["share_of_memory_ceiling"]["value"] > 0
    for name in ("", "_4_avatars", "_12_avatars"):
        assert figures[f"streams_25fps_engine{name}"]["value"] >= 0
