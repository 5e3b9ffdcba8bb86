"""A process whose threads answer within milliseconds."""

from __future__ import annotations

import gc
import sys

_SWITCH_S = 0.0005


def answer_promptly() -> None:
    """To be called once all is imported and loaded.

    A thread shall not wait 5 ms for each other one to yield, nor much longer while the collector
    looks through every module again.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
