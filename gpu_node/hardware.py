"""What this machine has."""

from __future__ import annotations

from pathlib import Path

import psutil
import pynvml

from control.contracts.worker import Hardware

_GIB = 1024.0**3


def detect(engine: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Hardware:
    """The machine as NVML and the kernel tell it; without an NVIDIA driver there is no GPU."""
    gpu, gpu_memory_gib = _gpu()
    return Hardware(
        cpu=_cpu(cpuinfo),
        cores=cores(),
        memory_gib=round(psutil.virtual_memory().total / _GIB, 1),
        gpu=gpu,
        gpu_memory_gib=gpu_memory_gib,
        engine=engine,
    )


def cores() -> int:
    """Cores this process may run on."""
    return len(psutil.Process().cpu_affinity()) or 1


def _cpu(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _gpu() -> tuple[str | None, float | None]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None, None
    try:
        if pynvml.nvmlDeviceGetCount() == 0:
            return None, None
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / _GIB
        return str(pynvml.nvmlDeviceGetName(handle)), round(memory, 1)
    finally:
        pynvml.nvmlShutdown()
