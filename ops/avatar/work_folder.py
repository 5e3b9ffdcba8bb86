"""Where a training keeps what it has learned until its package is written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpu_node.avatars.package import AvatarError
from ops.avatar.learning import Learner

_STATE, _PLAN = "learned.pt", "plan.json"


class WorkFolder:
    """The folder beside a package that is not finished; every file is whole at any time."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".work")

    def begin(self, plan: Mapping[str, Any]) -> None:
        """A new training. Raises AvatarError where an unfinished one is kept."""
        if (self.path / _STATE).exists():
            raise AvatarError(
                f"{self.path}: holds an unfinished training; add --resume, or remove that folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(plan), indent=1) + "\n"
        (self.path / _PLAN).write_text(text, encoding="utf-8")

    def resume(self, learner: Learner, plan: Mapping[str, Any]) -> None:
        """Gives the learner back what it knew. Raises AvatarError for another plan."""
        before = self._plan()
        for key, value in plan.items():
            if before.get(key) != value:
                raise AvatarError(
                    f"{self.path / _PLAN}: it was begun with {key} {before.get(key)}, not "
                    f"{value}; resume it with the same, or remove that folder"
                )
        if (self.path / _STATE).exists():
            _restore(learner, self.path / _STATE)

    def keep(self, learner: Learner) -> None:
        """Whole or not at all: training may be killed while it writes."""
        fresh = self.path / f"{_STATE}.new"
        state = {
            "generator": learner.generator.state_dict(),
            "optimiser": learner.optimiser.state_dict(),
            "spent_s": learner.spent_s,
            "steps": learner.steps,
        }
        torch.save(state, fresh)
        fresh.replace(self.path / _STATE)

    def remove(self) -> None:
        """The package is written."""
        shutil.rmtree(self.path)

    def _plan(self) -> dict[str, Any]:
        try:
            plan: dict[str, Any] = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AvatarError(
                f"{self.path}: no training to resume there; leave --resume out"
            ) from error
        return plan


def _restore(learner: Learner, file: Path) -> None:
    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        learner.generator.load_state_dict(kept["generator"])
        learner.optimiser.load_state_dict(kept["optimiser"])
        learner.spent_s, learner.steps = float(kept["spent_s"]), int(kept["steps"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise AvatarError(f"{file}: damaged ({error}); remove its folder and begin anew") from error
