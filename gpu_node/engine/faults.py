"""Which errors mean that the device under the engine is gone for this process."""

from __future__ import annotations

_ERRORS = ("AcceleratorError", "CudaError", "DeferredCudaCallError")
"""By name: who asks must not need torch."""
_MESSAGES = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "CUDNN_STATUS")
_SURVIVED = (
    "out of memory",
    "invalid argument",
    "invalid configuration",
    "not supported",
    "NOT_SUPPORTED",
    "BAD_PARAM",
    "ALLOC_FAILED",
    "NOT_INITIALIZED",
    "captur",
)
"""The call failed, its context did not."""


class EngineLost(Exception):
    """The engine's device is gone: nothing more is rendered until the process starts anew."""


def is_lost(error: BaseException) -> bool:
    """EngineLost, or CUDA's own word for an error that its context does not survive."""
    if isinstance(error, EngineLost):
        return True
    text = str(error)
    named = any(kind.__name__ in _ERRORS for kind in type(error).__mro__)
    told = isinstance(error, RuntimeError) and any(word in text for word in _MESSAGES)
    return (named or told) and not any(word in text for word in _SURVIVED)
