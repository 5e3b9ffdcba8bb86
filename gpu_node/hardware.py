"""What this machine has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pynvml

from control.contracts.worker import Hardware

_GIB = 1024.0**3
_CGROUPS = Path("/proc/self/cgroup")
# of both versions: the limit, what is used, and what of that the kernel gives back when asked
_CGROUP2 = (("memory.max", ""), ("memory.current", ""), ("memory.stat", "inactive_file"))
_CGROUP1 = (
    ("memory.limit_in_bytes", ""),
    ("memory.usage_in_bytes", ""),
    ("memory.stat", "total_inactive_file"),
)


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


def idle_s() -> float:
    """How long those cores had nothing to do, added up, since the machine began."""
    each = psutil.cpu_times(percpu=True)
    mine = [each[core] for core in psutil.Process().cpu_affinity() if core < len(each)]
    return sum(one.idle + getattr(one, "iowait", 0.0) for one in mine)


def resident_bytes() -> int:
    """Memory that this process has."""
    return int(psutil.Process().memory_info().rss)


def available_bytes(root: Path = Path("/sys/fs/cgroup"), proc: Path = _CGROUPS) -> float:
    """Memory that this process can still get: the machine's, or less where a control group, or one
    around it, has a limit."""
    least = float(psutil.virtual_memory().available)
    versions = ((root, "", _CGROUP2), (root / "memory", "memory", _CGROUP1))
    for base, controller, files in versions:
        for folder in _folders(base, proc, controller):
            limit, used, cache = (_figure(folder / name, key) for name, key in files)
            if limit is not None and used is not None:
                least = min(least, limit - used + (cache or 0.0))
    return max(0.0, least)


def _folders(base: Path, proc: Path, controller: str) -> list[Path]:
    """This process's group and those around it; within a container only its root may be there."""
    with suppress(OSError):
        for line in proc.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                own = base / path.lstrip("/")
                return [own, *(one for one in own.parents if one.is_relative_to(base))]
    return [base]


def _figure(file: Path, key: str) -> float | None:
    """The number in a file, or that after ``key``; None where there is none, as for ``max``."""
    try:
        words = file.read_text(encoding="utf-8").split()
        return float(words[words.index(key) + 1 if key else 0])
    except (OSError, ValueError, IndexError):
        return None


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
