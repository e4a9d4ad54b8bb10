"""Renders clips of the world in batches, on any device, fresh for ever.

Clip `index` of stream `seed` looks the same on every run. Pictures are [n, T, 3, S, S] in [0, 1].

    python render.py --sheet sheet.png          # look at it
    python render.py --bench                    # clips a second
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import device
import motion
import places
import things
from paint import Canvas
from world import COLOURS, Clip, sample


def _camera(clip: Clip, frames: int, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Pan [T] and zoom [T] of a clip's camera, easing in and out."""
    move = motion.ease(np.arange(frames) / max(frames - 1, 1))
    pan, zoom = np.zeros(frames), np.ones(frames)
    if clip.camera.startswith("pan"):
        pan = rng.uniform(0.36, 0.44) * (move - 0.5) * (1 if clip.camera.endswith("right") else -1)
    elif clip.camera.startswith("zoom"):
        zoom = 1 + 0.75 * (move if clip.camera.endswith("in") else 1 - move)
    return pan, zoom


def _groups(keys: list) -> Iterator[tuple[object, list[int]]]:
    """The indices of equal keys, in order of first appearance."""
    found: dict[object, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    yield from found.items()


@torch.no_grad()
def render(clips: list[Clip], size: int = 64, frames: int = 17, on: str | torch.device = "cpu") -> Tensor:
    """Pictures [n, T, 3, size, size] in [0, 1] of the clips."""
    n = len(clips)
    layouts, poses, pans, zooms, companions = [], [], [], [], []
    for clip in clips:
        rng = random.Random(clip.layout)
        layouts.append(places.layout(rng))
        pan, zoom = _camera(clip, frames, rng)
        pose = motion.pose(clip.thing, clip.motion, clip.place, things.SHAPES[clip.thing].body, frames, rng)
        companion = None
        if clip.second:
            companion = motion.pose(clip.second[0], "still", clip.place, things.SHAPES[clip.second[0]].body, frames, rng)
            # Apart enough to tell the two, near enough that they may overlap.
            side = 1 if rng.random() < 0.5 else -1
            pose.x = pose.x - pose.x.mean() + 0.5 - 0.19 * side
            pose.r = np.minimum(pose.r, 0.23)
            companion.x = companion.x * 0 + 0.5 + 0.25 * side
            shift = rng.choice((-0.035, 0.035))
            companion.y, companion.ground = companion.y + shift, companion.ground + shift
        poses.append(pose)
        companions.append(companion)
        pans.append(pan)
        zooms.append(zoom)
    as_tensor = lambda rows: torch.from_numpy(np.stack(rows)).to(on, torch.float32)  # noqa: E731
    pan, zoom = as_tensor(pans), as_tensor(zooms)
    seconds = torch.arange(frames, device=on) / motion.FPS
    tint = torch.tensor([places.tint(c.place, c.time) for c in clips], device=on)
    image = torch.empty(3, n, frames, size, size, device=on)

    def scene(place: str, members: list[int], canvas: Canvas, still: bool) -> places.Scene:
        k = torch.tensor(members, device=on)
        return places.Scene(
            canvas,
            place,
            [clips[i].time for i in members],
            [layouts[i] for i in members],
            pan[k][:, :1] if still else pan[k],
            seconds[:1] if still else seconds,
        )

    def draw_things(which: list[tuple[int, str, str, motion.Pose]]) -> None:
        for thing, members in _groups([w[1] for w in which]):
            chosen = [which[m] for m in members]
            index = torch.tensor([c[0] for c in chosen], device=on)
            pose = {name: as_tensor([getattr(c[3], name) for c in chosen]) for name in motion.Pose.names()}
            canvas = Canvas.blank(len(chosen), frames, size, pan[index], zoom[index])
            canvas.image = image[:, index]
            colour = torch.tensor([COLOURS[c[2]] for c in chosen], device=on)
            grounded = torch.tensor(
                [float(clips[c[0]].place in ("grass", "beach", "snow", "desert", "city", "room")) for c in chosen], device=on
            )
            things.draw(canvas, thing, pose, colour, tint[index], shadow=0.5 * grounded[:, None])
            image[:, index] = canvas.image

    for (place, still), members in _groups([(c.place, c.camera == "static" and c.place not in places.ALIVE) for c in clips]):
        k = torch.tensor(members, device=on)
        length = 1 if still else frames
        canvas = Canvas.blank(len(members), length, size, pan[k][:, :length], zoom[k][:, :length])
        places.BACK[place](scene(place, members, canvas, still))
        image[:, k] = canvas.image.expand(-1, -1, frames, -1, -1)
    behind = lambda i: companions[i].ground[0] < poses[i].ground[0]  # noqa: E731
    second = [(i, clips[i].second[0], clips[i].second[1], p) for i, p in enumerate(companions) if p is not None]
    draw_things([w for w in second if behind(w[0])])
    draw_things([(i, c.thing, c.colour, poses[i]) for i, c in enumerate(clips)])
    draw_things([w for w in second if not behind(w[0])])
    for place, members in _groups([c.place for c in clips]):
        if place in places.FRONT:
            k = torch.tensor(members, device=on)
            canvas = Canvas.blank(len(members), frames, size, pan[k], zoom[k])
            canvas.image = image[:, k]
            places.FRONT[place](scene(place, members, canvas, False))
            image[:, k] = canvas.image
    return image.clamp_(0, 1).permute(1, 2, 0, 3, 4)


class Stream:
    """An endless stream of batches (pictures, clips). `position` is the next clip's number: keep it to go on where it stopped.

    Clips are rendered `chunk` at a time, which costs less than a few at a time, and handed out `batch` by batch.
    """

    def __init__(
        self,
        seed: int,
        batch: int,
        size: int,
        frames: int,
        on: str | torch.device,
        *,
        position: int = 0,
        held_out: bool | None = False,
        chunk: int = 64,
    ) -> None:
        self.seed, self.batch, self.size, self.frames, self.on, self.held_out = seed, batch, size, frames, on, held_out
        self.chunk = max(1, chunk // batch) * batch
        self.position = position
        self._clips: list[Clip] = []
        self._pictures: Tensor | None = None

    def __next__(self) -> tuple[Tensor, list[Clip]]:
        if not self._clips:
            self._clips = [sample(self.seed, self.position + i, held_out=self.held_out) for i in range(self.chunk)]
            self._pictures = render(self._clips, self.size, self.frames, self.on)
        pictures, clips = self._pictures[: self.batch], self._clips[: self.batch]
        self._pictures, self._clips = self._pictures[self.batch :], self._clips[self.batch :]
        self.position += self.batch
        return pictures, clips


def contact_sheet(rows: list[tuple[Tensor, str]], path: Path, *, shown: int = 6, scale: int = 2, columns: int = 2) -> None:
    """Writes a picture of clips: each a row of frames [T, 3, S, S] evenly taken, under its caption."""
    from PIL import Image, ImageDraw

    size = rows[0][0].shape[-1] * scale
    width = size * shown + 8
    high = size + 16
    sheet = Image.new("RGB", (width * columns, (len(rows) + columns - 1) // columns * high), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (clip, caption) in enumerate(rows):
        x, y = i % columns * width, i // columns * high
        pen.text((x + 2, y + 2), caption[: width // 6], fill="black")
        for j, t in enumerate(np.linspace(0, len(clip) - 1, shown).round().astype(int)):
            frame = (clip[t].permute(1, 2, 0).clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
            sheet.paste(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC), (x + j * size, y + 15))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="stream of clips")
    parser.add_argument("--start", type=int, default=0, help="first clip of the stream")
    parser.add_argument("--count", type=int, default=24, help="clips on the sheet")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--frames", type=int, default=17, help="4k + 1")
    parser.add_argument("--thing", help="only this thing")
    parser.add_argument("--place", help="only this place")
    parser.add_argument("--camera", action="store_true", help="only clips with a moving camera")
    parser.add_argument("--second", action="store_true", help="only clips with two things")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet to this file")
    parser.add_argument("--bench", action="store_true", help="measure clips a second")
    device.add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="check determinism and range on a few clips of every size")
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        for size, frames in ((64, 17), (96, 9), (128, 33)):
            clips = [sample(0, i) for i in range(12)]
            a, b = render(clips, size, frames, on), render(clips, size, frames, on)
            assert a.shape == (12, frames, 3, size, size) and torch.isfinite(a).all() and torch.equal(a, b)
            assert a.std() > 0.1
        print("renders are finite, in range and repeatable")
    if args.sheet:
        clips, i = [], args.start
        while len(clips) < args.count:
            clip = sample(args.seed, i)
            i += 1
            if args.thing in (None, clip.thing) and args.place in (None, clip.place):
                if (clip.camera != "static" or not args.camera) and (clip.second or not args.second):
                    clips.append(clip)
        images = render(clips, args.size, args.frames, on)
        contact_sheet([(v, c.caption) for v, c in zip(images, clips)], args.sheet, scale=max(1, 128 // args.size))
    if args.bench:
        batch = 512 if on.type == "cuda" else 64
        for size in (64, 96, 128):
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < 6:
                render([sample(1, done + i) for i in range(batch)], size, args.frames, on)
                if on.type == "cuda":
                    torch.cuda.synchronize()
                done += batch
            print(f"{size} px, {args.frames} frames: {done / (time.perf_counter() - start):.0f} clips a second")


if __name__ == "__main__":
    main()
