"""Scores a model: what the judge sees in clips made from prompts, and how well given frames come back and are continued.

Prompts and seeds are fixed and every clip counts. The clips that the judge sees are the decoded ones.

    python evaluate.py --model work/transformer/export --vae work/vae/export --judge work/judge --out work/scores
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor
from transformers import UMT5EncoderModel

import device
import flow
import judge as judging
import quantised
import text
import training
import wan_vae
from render import contact_sheet, render
from train_transformer import load_vae
from train_vae import evaluate as evaluate_vae
from train_vae import psnr
from world import Clip, sample

PROMPT_STREAM = 700_001
# Motions whose continuation follows from the first frames by physics.
DETERMINED = ("roll", "drive", "sail", "bounce", "fall", "spin", "land", "take off", "grow", "shrink")


@dataclass
class Generator:
    """A model with the settings to run it by."""

    transformer: WanTransformer3DModel
    encoder: UMT5EncoderModel
    vae: AutoencoderKLWan
    steps: int
    guidance: float
    few: bool
    size: int
    frames: int
    on: torch.device

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return wan_vae.LATENT_CHANNELS, (self.frames - 1) // 4 + 1, self.size // 8, self.size // 8

    @torch.no_grad()
    def latents(self, prompts: list[str], seed: int, clean: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Normalised latents; the noise comes from the CPU's generator, so that it is the same everywhere."""
        noise = torch.randn(len(prompts), *self.shape, generator=torch.Generator().manual_seed(seed)).to(self.on)
        prompt, empty = (text.encode(self.encoder, *text.tokenize(p, self.on)) for p in (prompts, [""]))
        return flow.sample(
            self.transformer, prompt, empty, noise, steps=self.steps, guidance=self.guidance, clean=clean, given=given, few=self.few
        )

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        return torch.cat(
            [wan_vae.as_pictures(wan_vae.decode(self.vae, wan_vae.denormalised(self.vae, part))) for part in latents.split(16)]
        )


def share(right: list[bool]) -> float:
    return sum(right) / max(len(right), 1)


def follow_prompts(g: Generator, judge: judging.Judge, count: int, *, held_out: bool, batch: int) -> dict:
    """What share of clips shows the thing, colour, place and motion that the prompt names."""
    right: dict[str, list[bool]] = {q: [] for q in judging.CLASSES}
    by_thing: dict[str, dict[str, list[bool]]] = {}
    for start in range(0, count, batch):
        clips = [
            sample(PROMPT_STREAM, start + i, held_out=held_out, second_share=0, complete=True)
            for i in range(min(batch, count - start))
        ]
        seen = judging.answers(judge, g.pictures(g.latents([c.caption for c in clips], seed=1000 + start)))
        true = judging.labels(clips, g.on)
        for q in judging.CLASSES:
            hits = (seen[q] == true[q]).tolist()
            right[q] += hits
            for clip, hit in zip(clips, hits):
                by_thing.setdefault(clip.thing, {k: [] for k in judging.CLASSES})[q].append(hit)
    everything = [all(h) for h in zip(*right.values())]
    return {
        "prompts": count,
        **{q: share(h) for q, h in right.items()},
        "all four": share(everything),
        "by thing": {t: {q: round(share(h), 3) for q, h in hits.items()} for t, hits in sorted(by_thing.items())},
    }


def given_frames(g: Generator, count: int) -> dict:
    """First frame, beginning and ends given: the error of what was given, and the PSNR of what was made of the rest."""
    found: list[Clip] = []
    i = 0
    while len(found) < count:
        clip = sample(PROMPT_STREAM, 100_000 + i, second_share=0, complete=True)
        i += 1
        if clip.motion.removesuffix(" left").removesuffix(" right") in DETERMINED:
            found.append(clip)
    true = render(found, g.size, g.frames, g.on)
    with torch.no_grad():
        clean = wan_vae.normalised(g.vae, wan_vae.encode(g.vae, wan_vae.as_input(true))[0])
    own = g.pictures(clean)
    frames = clean.shape[2]
    tasks = {"first frame": [0], "extension": [0, 1], "infill": [0, frames - 1]}
    scores = {"clips": count}
    for name, which in tasks.items():
        given = torch.zeros(count, frames, dtype=torch.bool, device=g.on)
        given[:, which] = True
        latents = g.latents([c.caption for c in found], seed=2000, clean=clean, given=given)
        made = g.pictures(latents)
        # The decoder is causal: only what is given from the start on can come back exactly. A given end is compared as latents.
        prefix = 1 if which[1:] != [1] else 5
        rest = torch.tensor([t >= prefix and not (name == "infill" and t >= g.frames - 4) for t in range(g.frames)], device=g.on)
        scores[name] = {
            "largest error of given frames, of 255": (made[:, :prefix] - own[:, :prefix]).abs().max().item() * 255,
            "largest error of given latents": (latents - clean)[:, :, which].abs().max().item(),
            "PSNR of the rest against the truth": psnr(made[:, rest], true[:, rest]).mean().item(),
            "PSNR of repeating the last given frame": psnr(true[:, prefix - 1 : prefix].expand_as(true)[:, rest], true[:, rest])
            .mean()
            .item(),
        }
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=training.WORK / "transformer" / "export", help="folder with transformer and text_encoder"
    )
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export")
    parser.add_argument("--judge", type=Path, default=training.WORK / "judge")
    parser.add_argument("--out", type=Path, default=training.WORK / "scores", help="folder of scores.json and sheet.png")
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--held-out", type=int, default=200, help="prompts of held-out combinations")
    parser.add_argument("--given", type=int, default=32, help="clips for the tasks with given frames")
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--few", action="store_true", help="a few-step student: plain steps; give --steps 4 --guidance 1")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--sheet-only", action="store_true")
    device.add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="a few prompts and steps")
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.prompts, args.held_out, args.given, args.batch, args.steps = 3, 2, 2, 3, 2
    g = Generator(
        quantised.load("transformer", args.model / "transformer").to(on).eval(),
        UMT5EncoderModel.from_pretrained(args.model / "text_encoder").float().to(on).eval(),
        load_vae(args.vae, on),
        args.steps,
        args.guidance,
        args.few,
        args.size,
        args.frames,
        on,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    shown = 2 if args.smoke else 24
    clips = [sample(PROMPT_STREAM, i, held_out=None, complete=True) for i in range(shown)]
    start = time.perf_counter()
    pictures = g.pictures(g.latents([c.caption for c in clips], seed=1))
    seconds = (time.perf_counter() - start) / shown
    contact_sheet([(p, c.caption) for p, c in zip(pictures, clips)], args.out / "sheet.png")
    print(f"sheet of {shown} prompts written, {seconds:.2f} s a clip", flush=True)
    if args.sheet_only:
        return
    judge = judging.load(args.judge, on)
    scores = {
        "settings": {"steps": args.steps, "guidance": args.guidance, "few": args.few, "size": args.size, "frames": args.frames},
        "vae PSNR": evaluate_vae(g.vae, args.size, on, 4 if args.smoke else 96)[0].mean().item(),
        "judge on held-out renders": judging.accuracy(judge, on, 8 if args.smoke else 2000),
        "prompts": follow_prompts(g, judge, args.prompts, held_out=False, batch=args.batch),
        "held-out combinations": follow_prompts(g, judge, args.held_out, held_out=True, batch=args.batch),
        "given frames": given_frames(g, args.given),
    }
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    print(json.dumps({k: v for k, v in scores.items()}, indent=1))


if __name__ == "__main__":
    main()
