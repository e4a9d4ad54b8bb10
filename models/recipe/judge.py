"""A judge of clips: a small classifier that says which thing, colour, place and motion a clip shows. Trained on renders of every combination.

python judge.py                # to work/judge
python judge.py --steps 6000   # for longer
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import device
import training
from render import Stream, render
from world import COLOURS, MOTIONS_SEEN, PLACES, THINGS, Clip, sample

CLASSES: dict[str, tuple[str, ...]] = {
    "thing": tuple(THINGS),
    "colour": tuple(COLOURS),
    "place": tuple(PLACES),
    "motion": MOTIONS_SEEN,
}
SEED, TEST_SEED = 500_001, 500_002


def labels(clips: list[Clip], on: torch.device) -> dict[str, Tensor]:
    """The true class [n] of each question."""
    answers = {
        "thing": [c.thing for c in clips],
        "colour": [c.colour for c in clips],
        "place": [c.place for c in clips],
        "motion": [c.seen for c in clips],
    }
    return {q: torch.tensor([CLASSES[q].index(a) for a in given], device=on) for q, given in answers.items()}


class Judge(nn.Module):
    """Convolutions in each frame, down to a code that keeps where things are; then convolutions along time."""

    def __init__(self, width: int = 32, code: int = 160) -> None:
        super().__init__()
        w = width
        layers: list[nn.Module] = []
        for a, b in ((3, w), (w, 2 * w), (2 * w, 3 * w), (3 * w, 3 * w)):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU()]
        self.frame = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48 * w, code), nn.GELU())
        self.time = nn.Sequential(nn.Conv1d(code, code, 5, padding=2), nn.GELU(), nn.Conv1d(code, code, 5, padding=2), nn.GELU())
        self.heads = nn.ModuleDict({q: nn.Linear(4 * code, len(c)) for q, c in CLASSES.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits of each question for clips [n, T, 3, 64, 64] in [0, 1]."""
        n, frames = pictures.shape[:2]
        codes = self.frame(pictures.flatten(0, 1) * 2 - 1).unflatten(0, (n, frames)).transpose(1, 2)
        along = self.time(codes)
        # The mean and the strongest answer, and how the clip begins and ends.
        summary = torch.cat([along.mean(2), along.amax(2), along[:, :, :3].mean(2), along[:, :, -3:].mean(2)], 1)
        return {q: head(summary) for q, head in self.heads.items()}


def roughened(pictures: Tensor) -> Tensor:
    """A little blur and noise, different for each clip, so that the judge takes a generated clip as calmly as a render."""
    n = len(pictures)
    soft = F.avg_pool2d(pictures.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(pictures)
    share = torch.rand(n, 1, 1, 1, 1, device=pictures.device).mul(1.4).sub(0.4).clamp_min(0)
    level = torch.rand(n, 1, 1, 1, 1, device=pictures.device) * 0.06
    return (pictures + share * (soft - pictures) + level * torch.randn_like(pictures)).clamp(0, 1)


@torch.no_grad()
def answers(judge: Judge, pictures: Tensor, batch: int = 32) -> dict[str, Tensor]:
    """The judge's class [n] for each question. Other sizes than 64 pixels are brought to it."""
    if pictures.shape[-1] != 64:
        n = len(pictures)
        pictures = F.interpolate(pictures.flatten(0, 1), (64, 64), mode="area").unflatten(0, (n, -1))
    parts = [{q: v.argmax(1) for q, v in judge(part).items()} for part in pictures.split(batch)]
    return {q: torch.cat([p[q] for p in parts]) for q in CLASSES}


@torch.no_grad()
def accuracy(judge: Judge, on: torch.device, count: int) -> dict[str, float]:
    """Share of right answers on held-out renders."""
    right = dict.fromkeys(CLASSES, 0.0)
    for start in range(0, count, 50):
        clips = [sample(TEST_SEED, start + i, held_out=None, second_share=0) for i in range(min(50, count - start))]
        found, true = answers(judge, render(clips, 64, 17, on)), labels(clips, on)
        for q in CLASSES:
            right[q] += (found[q] == true[q]).sum().item() / count
    return right


def load(folder: Path, on: torch.device) -> Judge:
    judge = Judge().to(on).eval()
    judge.load_state_dict(torch.load(folder / "judge.pt", map_location=on, weights_only=True))
    return judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(parser, name="judge", steps=3000, batch=32, lr=1e-3)
    device.add_arguments(parser)
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.chunk = 8
        args.steps, args.batch, args.eval_every = 2, 4, 2
    torch.manual_seed(args.seed)
    judge = Judge().to(on)
    run = training.Run(args, on)
    run.train(judge, decay=0.995, weight_decay=0.02)
    stream = Stream(SEED, args.batch, 64, 17, on, position=run.position, held_out=None, chunk=args.chunk)
    for _ in run.steps():
        pictures, clips = next(stream)
        true = labels(clips, on)
        with device.mixed(on):
            logits = judge(roughened(pictures))
            loss = sum(F.cross_entropy(logits[q].float(), true[q], label_smoothing=0.02) for q in CLASSES)
        run.update(loss, stream.position)
        if run.time_to_evaluate:
            print(f"step {run.step} {accuracy(run.average, on, 8 if args.smoke else 300)}", flush=True)
    torch.save(run.average.state_dict(), args.run / "judge.pt")
    print(f"held-out renders: {accuracy(run.average, on, 8 if args.smoke else 2000)}")


if __name__ == "__main__":
    main()
