"""Distils the trained model into one that needs few steps and no guidance.

The student makes one plain step where the teacher, guided, makes several: from data noised to the level where a student's step begins, the
teacher goes to the level where it ends, and the student's velocity is to lead to the same place (as in progressive distillation, Salimans
and Ho 2022, https://arxiv.org/abs/2202.00512, in one stage). The student is run by UniPC of first order without corrector, which is that
plain step.

    python distill.py --teacher work/transformer/export --vae work/vae/export
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import UMT5EncoderModel

import device
import flow
import quantised
import text
import training
from latents import LatentPool
from render import Stream
from train_transformer import load_vae


def levels(steps: int, on: torch.device) -> Tensor:
    """Where the student's steps begin and end, [steps + 1], from nearly 1 to 0."""
    solver = flow.scheduler(steps, few=True)
    solver.set_timesteps(steps)
    return solver.sigmas.to(on, torch.float32)


@torch.no_grad()
def teacher_step(
    teacher: nn.Module,
    x: Tensor,
    start: Tensor,
    end: Tensor,
    given: Tensor,
    prompt: Tensor,
    empty: Tensor,
    guidance: float,
    substeps: int,
) -> Tensor:
    """The velocity [n, 12, T, h, w] that leads from x at level start [n] to where the teacher's guided midpoint steps arrive at level end [n]."""
    open_ = ~given
    at = x
    for i in range(substeps):
        s0, s1 = (torch.lerp(start, end, f) for f in (i / substeps, (i + 1) / substeps))
        half, slope = (s0 + s1) / 2, (s1 - s0)[:, None] * open_

        def guided(y: Tensor, s: Tensor) -> Tensor:
            both = flow.velocity(
                teacher, torch.cat([y, y]), (s[:, None] * open_).repeat(2, 1), torch.cat([prompt, empty.expand_as(prompt)])
            )
            with_text, without = both.chunk(2)
            return without + guidance * (with_text - without)

        shift = slope[:, None, :, None, None]
        middle = at + shift / 2 * guided(at, s0)
        at = at + shift * guided(middle, half)
    return (at - x) / (end - start).view(-1, 1, 1, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(parser, name="student", steps=2000, batch=24, lr=4e-4)
    parser.add_argument("--teacher", type=Path, default=training.WORK / "transformer" / "export")
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export")
    parser.add_argument("--student-steps", type=int, default=4)
    parser.add_argument("--substeps", type=int, default=2, help="teacher's steps in one of the student's")
    parser.add_argument("--guidance", type=float, default=3.0, help="teacher's guidance scale")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--pool", type=int, default=4096)
    parser.add_argument("--fresh", type=int, default=4)
    parser.add_argument("--ema", type=float, default=0.998)
    device.add_arguments(parser)
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.chunk = 8
        args.steps, args.batch, args.pool = 2, 4, 16
    torch.manual_seed(args.seed)

    teacher = quantised.load("transformer", args.teacher / "transformer").to(on).eval().requires_grad_(False)
    encoder = UMT5EncoderModel.from_pretrained(args.teacher / "text_encoder").float().to(on).eval().requires_grad_(False)
    student = copy.deepcopy(teacher).train().requires_grad_(True)
    run = training.Run(args, on)
    run.train(student, decay=args.ema)
    pool = LatentPool(
        load_vae(args.vae, on),
        Stream(args.seed, args.fresh, args.size, args.frames, on, position=run.position, chunk=args.chunk),
        args.pool,
    )

    grid = levels(args.student_steps, on)
    with torch.no_grad():
        empty = text.encode(encoder, *text.tokenize([""], on))
    pool.renew(16 if args.smoke else min(args.pool, 768))
    for _ in run.steps():
        pool.renew(args.fresh)
        clean, captions = pool.batch(args.batch)
        given = flow.given_frames(len(clean), clean.shape[2], on)
        k = torch.randint(0, args.student_steps, (len(clean),), device=on)
        start, end = grid[k], grid[k + 1]
        sigmas = start[:, None] * ~given
        x = flow.noised(clean, torch.randn_like(clean), sigmas)
        with device.mixed(on):
            with torch.no_grad():
                prompt = text.encode(encoder, *text.tokenize(captions, on))
                target = teacher_step(teacher, x, start, end, given, prompt, empty, args.guidance, args.substeps)
            loss = flow.masked_error(flow.velocity(student, x, sigmas, prompt), target, given).mean()
        run.update(loss, pool.stream.position)
    out = args.run / "export"
    run.average.save_pretrained(out / "transformer")
    encoder.save_pretrained(out / "text_encoder")
    text.save(out / "tokenizer")
    print(f"wrote {out} at step {run.step} after {run.clock.seconds / 60:.1f} min")


if __name__ == "__main__":
    main()
