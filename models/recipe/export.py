"""Puts the trained parts together as an ordinary diffusers folder in 16 bit, with kinetoscope.json and a model card, and checks it.

The check loads the folder with diffusers' own WanPipeline and compares a clip with this recipe's sampler.

    python export.py --model work/transformer/export --vae work/vae/export --scores work/scores --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from string import Template

import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import UMT5EncoderModel

import device
import flow
import text
import training
import wan_vae
import world
from evaluate import Generator
from motion import FPS

CARD = Path(__file__).parent / "model_card.md"


def card(scores: dict | None, settings: dict, sizes: dict[str, float], training_text: str) -> str:
    """The model card. What was not measured says so."""
    lines = ["Not measured yet."]
    if scores:
        rows = ("thing", "colour", "place", "motion", "all four")
        lines = ["| share of clips that show the prompt's | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
        for name in ("prompts", "held-out combinations"):
            part = scores[name]
            lines.append(f"| {part['prompts']} {name} | " + " | ".join(f"{100 * part[r]:.1f}%" for r in rows) + " |")
        seen = scores["judge on held-out renders"]
        lines += ["", "The judge itself on held-out renders: " + ", ".join(f"{q} {100 * v:.1f}%" for q, v in seen.items()) + "."]
        lines += ["", f"VAE on held-out renders: {scores['vae PSNR']:.2f} dB."]
        for task, part in scores["given frames"].items():
            if isinstance(part, dict):
                lines.append(f"{task[0].upper()}{task[1:]}: " + "; ".join(f"{k} {v:.3g}" for k, v in part.items()) + ".")
    return Template(CARD.read_text()).substitute(
        scores="\n".join(lines),
        training=training_text.strip() or "Not recorded.",
        parts=", ".join(f"{k} {v:.2f} M" for k, v in sizes.items()),
        things=", ".join(world.THINGS),
        colours=", ".join(world.COLOURS),
        places=", ".join(world.PLACES),
        held_out=", ".join(sorted(f"{c} {t}" for t, c in world.HELD_OUT_COLOURS))
        + "; "
        + ", ".join(sorted(f"{t} and {p}" for t, p in world.HELD_OUT_PLACES)),
        **settings,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=training.WORK / "transformer" / "export", help="folder with transformer and text_encoder"
    )
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export")
    parser.add_argument("--scores", type=Path, help="folder with scores.json and sheet.png, for the card")
    parser.add_argument("--training", type=Path, help="text file for the card: what was trained for how long on what")
    parser.add_argument("--out", type=Path, default=training.WORK / "model")
    parser.add_argument("--name", default="kinetoscope-small")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--few", action="store_true", help="a few-step student; give --steps 4 --guidance 1")
    device.add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="few steps in the check")
    args = parser.parse_args()
    device.prepare(args)
    if args.smoke:
        args.steps = 2
    parts = {
        "transformer": WanTransformer3DModel.from_pretrained(args.model / "transformer"),
        "text_encoder": UMT5EncoderModel.from_pretrained(args.model / "text_encoder"),
        "vae": AutoencoderKLWan.from_pretrained(args.vae),
    }
    pipeline = WanPipeline(
        **{name: part.to(torch.float16) for name, part in parts.items()},
        tokenizer=text.tokens(),
        scheduler=flow.scheduler(args.steps, few=args.few),
        expand_timesteps=True,
    )
    pipeline.save_pretrained(args.out)
    settings = {
        "name": args.name,
        "width": args.size,
        "height": args.size,
        "frames": args.frames,
        "fps": FPS,
        "steps": args.steps,
        "guidance_scale": args.guidance,
    }
    settings = {**settings, "max_sequence_length": text.MAX_SEQUENCE_LENGTH, "negative_prompt": ""}
    (args.out / "kinetoscope.json").write_text(json.dumps(settings, indent=1) + "\n")
    (args.out / "words.json").write_text(json.dumps(world.words(), indent=1) + "\n")
    scores = json.loads((args.scores / "scores.json").read_text()) if args.scores else None
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in parts.items()}
    story = args.training.read_text() if args.training else ""
    (args.out / "README.md").write_text(card(scores, settings, sizes, story))
    if args.scores and (args.scores / "sheet.png").exists():
        shutil.copy(args.scores / "sheet.png", args.out / "sheet.png")

    # diffusers alone, in 32 bit, against this recipe's sampler on the same weights.
    loaded = WanPipeline.from_pretrained(args.out, torch_dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    prompt = world.sample(0, 0).caption
    theirs = loaded(
        prompt,
        height=args.size,
        width=args.size,
        num_frames=args.frames,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        max_sequence_length=text.MAX_SEQUENCE_LENGTH,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).frames
    g = Generator(
        loaded.transformer,
        loaded.text_encoder,
        wan_vae.channels_last(loaded.vae),
        args.steps,
        args.guidance,
        args.few,
        args.size,
        args.frames,
        torch.device("cpu"),
    )
    error = (g.pictures(g.latents([prompt], seed=5)) - theirs.float()).abs().max().item() * 255
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file()) / 1e6
    print(f"wrote {args.out}, {total:.2f} MB; largest difference from diffusers' pipeline: {error:.3f} of 255")
    if error > 1:
        raise SystemExit("diffusers' pipeline and the recipe's sampler differ")


if __name__ == "__main__":
    main()
