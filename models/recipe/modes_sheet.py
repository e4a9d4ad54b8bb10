"""Makes a clip in every mode with Kinetoscope's program and writes them as one picture: what was given, and what became of it.

    cargo build --release --features cli
    python modes_sheet.py --program ../../target/release/kinetoscope --model ../small --out ../small/modes.jpg

Seed 1 throughout; what is given is rendered as the training clips are, from a stream that no training uses.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

import device
from render import render
from train_vae import HELD_OUT_STREAM
from world import Clip, sample

HIGH, GAP, SHOWN = 128, 4, 9
EARLIER, LATER = 4 * 2 + 1, 4 * 2


def frames_of(clip: torch.Tensor) -> list[Image.Image]:
    """Pictures [T, 3, S, S] in [0, 1] as images."""
    return [Image.fromarray((frame.permute(1, 2, 0) * 255 + 0.5).byte().numpy()) for frame in clip.clamp(0, 1)]


def first_clip(thing: str, motion: str = "") -> Clip:
    """The first clip of its kind in the stream: nothing is chosen by what comes of it."""
    clips = (sample(HELD_OUT_STREAM, index, second_share=0) for index in itertools.count())
    return next(clip for clip in clips if clip.thing == thing and clip.motion.startswith(motion))


def write(frames: list[Image.Image], folder: Path) -> str:
    """A folder of PNGs, as the program reads clips."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        frame.save(folder / f"{index:04}.png")
    return str(folder)


class Sheet:
    """Rows of pictures under captions; a coloured bar is under those that were given."""

    def __init__(self, program: Path, model: Path, scratch: Path, options: list[str]) -> None:
        self.program, self.model, self.scratch, self.options = program, model, scratch, options
        self.rows: list[tuple[str, list[Image.Image], set[int]]] = []

    def make(self, prompt: str, *options: str) -> list[Image.Image]:
        out = self.scratch / f"made{len(list(self.scratch.iterdir()))}"
        command = [self.program, "generate", "--model", self.model, "--prompt", prompt, "--seed", "1", "--device", "cpu"]
        subprocess.run([*command, *self.options, *options, "--out", out], check=True, capture_output=True)
        return [Image.open(path).convert("RGB") for path in sorted(out.iterdir())]

    def add(self, caption: str, frames: list[Image.Image], given: range | tuple = ()) -> None:
        self.rows.append((caption, frames, set(given)))

    def save(self, path: Path) -> None:
        strips = [self._strip(*row) for row in self.rows]
        sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
        y = 0
        for strip in strips:
            sheet.paste(strip, (0, y))
            y += strip.height
        sheet.save(path, quality=88)

    def _strip(self, caption: str, frames: list[Image.Image], given: set[int]) -> Image.Image:
        width = round(HIGH * frames[0].width / frames[0].height)
        # Wide pictures are shown in fewer frames, so that rows are about as long as each other.
        shown = min(SHOWN, max(3, SHOWN * HIGH // width))
        chosen = np.linspace(0, len(frames) - 1, shown).round().astype(int)
        strip = Image.new("RGB", (shown * (width + GAP), HIGH + 34), "white")
        pen = ImageDraw.Draw(strip)
        pen.text((2, 4), caption, fill="black")
        for place, index in enumerate(chosen):
            x = place * (width + GAP)
            strip.paste(frames[index].resize((width, HIGH), Image.Resampling.BICUBIC), (x, 20))
            if index in given:
                pen.rectangle((x, HIGH + 22, x + width - 1, HIGH + 26), fill="#c77d1e")
        return strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=Path("../../target/release/kinetoscope"))
    parser.add_argument("--model", type=Path, default=Path("../small"))
    parser.add_argument("--out", type=Path, default=Path("../small/modes.jpg"))
    device.add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="two steps a clip")
    args = parser.parse_args()
    on = device.prepare(args)
    rolling = first_clip("ball", "roll")
    driving = first_clip("car")
    flying = first_clip("bird")
    ball, car, bird = (frames_of(clip) for clip in render([rolling, driving, flying], 64, 17, on).cpu())
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        sheet = Sheet(args.program, args.model, scratch, ["--steps", "2"] if args.smoke else [])
        first = write(car[:1], scratch / "first")
        made = sheet.make(driving.caption, "--given", f"0={first}")
        sheet.add(f"a first frame: {driving.caption}", made, range(1))
        made = sheet.make(rolling.caption, "--given", f"0={write(ball[:EARLIER], scratch / 'earlier')}")
        sheet.add(f"extended forwards from 9 frames: {rolling.caption}", made, range(EARLIER))
        made = sheet.make(rolling.caption, "--given", f"-1={write(ball[-LATER:], scratch / 'later')}")
        sheet.add(f"extended backwards from 8 frames: {rolling.caption}", made, range(17 - LATER, 17))
        ends = ["--given", f"0={write(bird[:1], scratch / 'begin')}", "--given", f"-1={write(bird[-1:], scratch / 'end')}"]
        sheet.add(f"filled between the first and the last frame: {flying.caption}", sheet.make(flying.caption, *ends), (0, 16))
        loop = ["--given", f"0={scratch / 'begin'}", "--given", f"-1={scratch / 'begin'}"]
        sheet.add(f"a loop, which ends as it begins: {flying.caption}", sheet.make(flying.caption, *loop), (0, 16))
        sheet.add(f"to be changed: {driving.caption}", car, range(17))
        source = write(car, scratch / "source")
        other = driving.caption.replace(driving.colour, "purple" if driving.colour == "blue" else "blue")
        sheet.add(f"changed, strength 0.8: {other}", sheet.make(other, "--video", source, "--strength", "0.8"))
        mask = scratch / "mask.png"
        ImageOps.expand(Image.new("L", (64, 32), 0), (0, 32, 0, 0), 255).save(mask)
        ground = "a red car drives to the right in the snow"
        made = sheet.make(ground, "--video", source, "--strength", "1", "--mask", str(mask))
        sheet.add(f"changed in the upper half alone, strength 1: {ground}", made)
        for size, prompt in (
            ("32x96", "a red balloon rises in the sky"),
            ("96x64", "a yellow fish swims to the right underwater"),
            ("128x128", "a red ball bounces on green grass"),
        ):
            width, height = size.split("x")
            sheet.add(f"{size}: {prompt}", sheet.make(prompt, "--width", width, "--height", height))
        prompt, later = "a red ball rolls to the right on green grass", "a red ball rolls to the right on green grass at night"
        made = sheet.make(prompt, "--seconds", "5", "--prompt-at", f"2.5={later}")
        sheet.add(f"5 seconds in windows: {prompt}; from 2.5 s: {later}", made)
        sheet.save(args.out)


if __name__ == "__main__":
    main()
