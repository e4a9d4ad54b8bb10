"""What every training run shares: its steps, the course of the learning rate, the averaged weights, and a checkpoint to go on from."""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import muon

WORK = Path(__file__).parent / "work"


def add_arguments(parser: argparse.ArgumentParser, *, name: str, steps: int, batch: int, lr: float) -> None:
    """The options of a training run. A run that is started again goes on from its checkpoint."""
    parser.add_argument(
        "--run", type=Path, default=WORK / name, help="folder of the checkpoint; started again, the run goes on from there"
    )
    parser.add_argument("--steps", type=int, default=steps, help="steps in all; raise it to train for longer")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these minutes with a checkpoint")
    parser.add_argument(
        "--cooldown", type=float, default=0.3, help="share of the run at its end in which the learning rate falls; 0 for a run that is to be gone on with"
    )
    parser.add_argument("--batch", type=int, default=batch, help="clips a step")
    parser.add_argument("--lr", type=float, default=lr, help="learning rate")
    parser.add_argument("--seed", type=int, default=1, help="stream of clips to train on")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--chunk", type=int, default=64, help="clips rendered at once; more on a GPU")
    parser.add_argument("--save-every", type=float, default=4, help="minutes between checkpoints")
    parser.add_argument("--eval-every", type=int, default=250, help="steps between evaluations")
    parser.add_argument("--smoke", action="store_true", help="a few tiny steps, to see that everything works")


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


class Run:
    """A training under way: the module it trains, the average of its weights, the optimisers, the step, and the clip that comes next.

    A run that is started again goes on from its checkpoint. `kept` is what else the checkpoint holds.
    """

    def __init__(self, args: argparse.Namespace, on: torch.device, kept: dict | None = None) -> None:
        self.args, self.on = args, on
        self.path = args.run / "checkpoint.pt"
        self.saved = torch.load(self.path, map_location=on, weights_only=True) if self.path.exists() else None
        self.kept = {**(kept or {}), **(self.saved["kept"] if self.saved else {})}
        self.step = self.saved["step"] if self.saved else 0
        self.position = self.saved["position"] if self.saved else 0
        self.clock = Clock(args.minutes, args.save_every)
        self.smooth: float | None = None
        self.done = 0

    def train(self, module: nn.Module, *, decay: float, weight_decay: float = 0.0, head_start: int = 0) -> None:
        """Names the module to train, from the checkpoint where there is one.

        `decay`: of the averaged weights, in `average`; `head_start`: steps that a module which is trained already counts as having made.
        """
        self.module, self.decay, self.head_start = module, decay, head_start
        self.average = copy.deepcopy(module).eval().requires_grad_(False)
        if self.saved:
            module.load_state_dict(self.saved["module"])
            self.average.load_state_dict(self.saved["average"])
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        self.trained = [p for _, p in named]
        self.optimisers = muon.optimisers(named, self.args.lr, weight_decay)
        if self.saved:
            for optimiser, its in zip(self.optimisers, self.saved["optimisers"]):
                optimiser.load_state_dict(its)
        self.saved = None
        parts = ", ".join(f"{n} {sum(p.numel() for p in m.parameters()) / 1e6:.2f}" for n, m in module.named_children())
        print(f"millions of parameters: {parts}; from step {self.step}", flush=True)

    def rate(self) -> float:
        """The learning rate's course: warm up, hold, then fall to nearly nothing by the last step or, if that comes first, the last minute."""
        args = self.args
        left = min(1 - self.step / args.steps, 1 - self.clock.seconds / (60 * args.minutes))
        return min(1.0, (self.step + 1) / 60) * max(0.01, min(1.0, left / max(args.cooldown, 1e-9)))

    def steps(self) -> Iterator[int]:
        """The number of each step to make, until the last one or the end of the time; saves now and then, and at the end."""
        while self.step < self.args.steps and not self.clock.out_of_time():
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.args.lr * self.rate()
            yield self.step
            if self.clock.time_to_save():
                self.save()
        self.save()
        if not math.isfinite(self.smooth or 0.0):
            raise SystemExit("the loss is not finite")

    def update(self, loss: Tensor, position: int) -> None:
        """Ends a step: follows the gradient of `loss`; `position` is the stream's now."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        made = self.step + self.head_start
        share = 1 - min(self.decay, (made + 1) / (made + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.module.parameters()), share)
        self.step, self.position = self.step + 1, position
        self.done += self.args.batch
        self.smooth = loss.item() if self.smooth is None else 0.98 * self.smooth + 0.02 * loss.item()
        if self.step % 50 == 0:
            pace = self.done / self.clock.seconds
            print(f"step {self.step} loss {self.smooth:.4f}  {pace:.1f} clips/s  {self.clock.seconds / 60:.1f} min", flush=True)

    @property
    def time_to_evaluate(self) -> bool:
        return self.step % self.args.eval_every == 0

    def save(self) -> None:
        """Writes a checkpoint so that a reader, or a crash, never sees half of one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        torch.save(
            {
                "module": self.module.state_dict(),
                "average": self.average.state_dict(),
                "optimisers": [o.state_dict() for o in self.optimisers],
                "step": self.step,
                "position": self.position,
                "kept": self.kept,
            },
            part,
        )
        os.replace(part, self.path)
