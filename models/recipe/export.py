"""Puts the trained parts together as an ordinary diffusers folder in 16 bit, with kinetoscope.json and words.json, and checks it.

The check loads the folder with diffusers' own WanPipeline and compares a clip with this recipe's sampler. Beside it the folder is written with
transformer and VAE in 8-bit blocks, which is what the repository ships.

    python export.py --model work/transformer/export --vae work/vae/export --out FOLDER --quantised FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import WanPipeline
from transformers import UMT5EncoderModel

import device
import flow
import preview
import quantised
import text
import training
import wan_vae
import world
from evaluate import Generator
from motion import FPS

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=training.WORK / "transformer" / "export", help="folder with transformer and text_encoder"
    )
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export")
    parser.add_argument("--out", type=Path, default=training.WORK / "model")
    parser.add_argument("--quantised", type=Path, default=training.WORK / "model_q8", help="folder for the same in 8-bit blocks")
    parser.add_argument("--name", default="kinetoscope-small")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--few", action="store_true", help="a few-step student; give --steps 4 --guidance 1")
    device.add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="few steps in the check")
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.steps = 2
    parts = {
        "transformer": quantised.load("transformer", args.model / "transformer"),
        "text_encoder": UMT5EncoderModel.from_pretrained(args.model / "text_encoder"),
        "vae": quantised.load("vae", args.vae),
    }
    preview_map = preview.fit(parts["vae"].to(on).eval(), args.size, on, 8 if args.smoke else 256)
    pipeline = WanPipeline(
        **{name: part.to("cpu", torch.float16) for name, part in parts.items()},
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
    settings = {**settings, "max_sequence_length": text.MAX_SEQUENCE_LENGTH, "negative_prompt": "", "latent_rgb": preview_map}
    (args.out / "kinetoscope.json").write_text(json.dumps(settings, indent=1) + "\n")
    (args.out / "words.json").write_text(json.dumps(world.words()) + "\n")
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
    print(f"wrote {args.out}, {quantised.megabytes(args.out):.2f} MB; largest difference from diffusers' pipeline: {error:.3f} of 255")
    if error > 1:
        raise SystemExit("diffusers' pipeline and the recipe's sampler differ")
    quantised.convert(args.out, args.quantised)
    print(f"wrote {args.quantised}, {quantised.megabytes(args.quantised):.2f} MB")


if __name__ == "__main__":
    main()
