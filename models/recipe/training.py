"""What every training run shares: the course of the learning rate, the averaged weights, and a checkpoint to go on from."""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import torch
from torch import nn

WORK = Path(__file__).parent / "work"


def add_arguments(parser: argparse.ArgumentParser, *, name: str, steps: int, batch: int, lr: float) -> None:
    """The options of a training run. A run that is started again goes on from its checkpoint."""
    parser.add_argument(
        "--run", type=Path, default=WORK / name, help="folder of the checkpoint; started again, the run goes on from there"
    )
    parser.add_argument("--steps", type=int, default=steps, help="steps in all; raise it to train for longer")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these minutes with a checkpoint")
    parser.add_argument(
        "--cooldown", type=float, default=0.3, help="share of the steps at the end in which the learning rate falls"
    )
    parser.add_argument("--batch", type=int, default=batch, help="clips a step")
    parser.add_argument("--lr", type=float, default=lr, help="learning rate")
    parser.add_argument("--seed", type=int, default=1, help="stream of clips to train on")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--chunk", type=int, default=64, help="clips rendered at once; more on a GPU")
    parser.add_argument("--save-every", type=float, default=4, help="minutes between checkpoints")
    parser.add_argument("--eval-every", type=int, default=250, help="steps between evaluations")
    parser.add_argument("--smoke", action="store_true", help="a few tiny steps, to see that everything works")


def rate(step: int, steps: int, cooldown: float, warmup: int = 60) -> float:
    """Warm up, hold, then fall to nearly nothing: a run can be made longer by resuming before it falls."""
    fall = max(1, int(steps * cooldown))
    left = (steps - step) / fall
    return min(1.0, (step + 1) / warmup) * max(0.01, min(1.0, left))


class Average:
    """Exponential moving average of a module's weights, in a copy of it."""

    def __init__(self, module: nn.Module, copy: nn.Module, decay: float) -> None:
        self.module, self.copy, self.decay = module, copy.eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        share = 1 - min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.copy.parameters()), list(self.module.parameters()), share)


def save(path: Path, state: dict) -> None:
    """Writes a checkpoint so that a reader, or a crash, never sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load(path: Path, device: torch.device) -> dict | None:
    """The checkpoint, or None where there is none yet."""
    return torch.load(path, map_location=device, weights_only=True) if path.exists() else None


class Clock:
    """Says when it is time to save and to stop."""

    def __init__(self, minutes: float, save_every: float) -> None:
        self.start = self.saved = time.monotonic()
        self.minutes, self.save_every = minutes, save_every

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def out_of_time(self) -> bool:
        return self.seconds > self.minutes * 60

    def time_to_save(self) -> bool:
        if time.monotonic() - self.saved < self.save_every * 60:
            return False
        self.saved = time.monotonic()
        return True
