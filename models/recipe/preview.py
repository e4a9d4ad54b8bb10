"""Fits the linear map from latents to small pictures that Kinetoscope shows while it samples.

python preview.py --vae work/vae/export
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

import device
import quantised
import training
import wan_vae
from render import Stream


def small_pictures(pictures: Tensor, stride: int, scale: int) -> Tensor:
    """Mean colours [n, t, 3, h, w] of what each place of the latents stands for, from pictures [n, T, 3, S, S] in [0, 1]."""
    first, later = pictures[:, :1], pictures[:, 1:].unflatten(1, (-1, stride)).mean(2)
    small = torch.nn.functional.avg_pool2d(torch.cat([first, later], 1).flatten(0, 1), scale)
    return small.unflatten(0, (len(pictures), -1))


@torch.no_grad()
def fit(vae: AutoencoderKLWan, size: int, on: torch.device, count: int) -> dict[str, list]:
    """`latent_rgb` of kinetoscope.json: weights [12, 3] and bias [3] for normalised latents, by least squares over `count` clips."""
    stream = Stream(78, min(16, count), size, 17, on)
    latents, colours = [], []
    for _ in range(max(1, count // 16)):
        pictures, _ = next(stream)
        x = wan_vae.normalised(vae, wan_vae.encode(vae, wan_vae.as_input(pictures))[0])
        latents.append(x.permute(0, 2, 3, 4, 1).flatten(0, 3))
        small = small_pictures(pictures, vae.config.scale_factor_temporal, vae.config.scale_factor_spatial)
        colours.append(small.permute(0, 1, 3, 4, 2).flatten(0, 3))
    x, y = torch.cat(latents).double(), torch.cat(colours).double()
    found = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[:, :1])], 1), y).solution
    return {"weights": [[round(v, 5) for v in row] for row in found[:-1].tolist()], "bias": [round(v, 5) for v in found[-1].tolist()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=256, help="clips to fit to")
    device.add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="a few clips")
    args = parser.parse_args()
    on = device.prepare(args)
    vae = wan_vae.channels_last(quantised.load("vae", args.vae)).to(on).eval()
    print(json.dumps(fit(vae, args.size, on, 8 if args.smoke else args.count)))


if __name__ == "__main__":
    main()
