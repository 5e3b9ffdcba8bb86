"""Engines that turn speech into mouths, behind one port; each loads its library only when made."""

from __future__ import annotations

from gpu_node.engine.port import Engine, EngineError, FrameJob

__all__ = ["Engine", "EngineError", "FrameJob", "make_engine"]


def make_engine(device: str = "auto", threads: int = 1) -> Engine:
    """The engine of a device: ``cuda`` runs torch, ``cpu`` onnxruntime, ``auto`` whichever fits.

    Raises EngineError for an unknown device, or where its library or its GPU is missing.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise EngineError(f"device is {device!r}; choose auto, cpu or cuda")
    if device == "cpu" or (device == "auto" and not _has_gpu()):
        from gpu_node.engine.onnx_cpu import OnnxEngine

        return OnnxEngine(threads)
    from gpu_node.engine.torch_engine import TorchEngine

    return TorchEngine("cuda")


def _has_gpu() -> bool:
    """Asks the driver, not torch: on a CPU worker torch is not installed at all."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        return bool(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
