"""Makes the goldens of the tiny autoencoder, by a reference of its own: taehv/<case>/.

    python taehv.py          # random weights, and what they make of latents and frames
    python taehv.py --check  # that every parameter shows in the output

Whole clips at once, each layer over all frames: the runtime goes frame by frame. The facts (layers and their numbers, memory,
clamp, trimming, padding at the end) are from `taehv.py` of madebyollin/taehv.
"""

import argparse
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from cases import GOLDEN
from make_pipelines import generator

Weights = dict[str, Tensor]

ENCODER_STAGES = (2, 7, 12)
DECODER_STAGES = (3, 9, 15)


@dataclass(frozen=True)
class Tiny:
    """A tiny autoencoder; widths before and after each stage, and frames that a stage pools or makes."""

    z_dim: int
    patch: int
    encoder: tuple[int, int, int, int]
    decoder: tuple[int, int, int, int]
    pool: tuple[int, int, int]
    grow: tuple[int, int, int]
    dtype: torch.dtype
    latents: tuple[int, int, int]
    """(T, H, W) of what is decoded."""


# The z of the golden case of the same name, whose pipelines and videos the tests take.
CASES = {
    # No width a multiple of 4: the kernels that read single values.
    "wan21": Tiny(16, 1, (5, 6, 7, 9), (9, 7, 6, 5), (2, 2, 1), (1, 2, 2), torch.float16, (4, 2, 3)),
    # Whole vectors, and time in other stages than the real models have it.
    "wan22": Tiny(12, 2, (4, 8, 4, 8), (12, 8, 4, 8), (2, 1, 2), (2, 2, 1), torch.bfloat16, (3, 2, 2)),
}


def shapes(tiny: Tiny) -> dict[str, tuple[int, ...]]:
    """Shape by name."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> None:
        found[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        if bias:
            found[f"{name}.bias"] = (outputs,)

    def block(name: str, dim: int) -> None:
        conv(f"{name}.conv.0", 2 * dim, dim)
        conv(f"{name}.conv.2", dim, dim)
        conv(f"{name}.conv.4", dim, dim)

    channels = 3 * tiny.patch**2
    conv("encoder.0", channels, tiny.encoder[0])
    for first, inputs, outputs, frames in zip(ENCODER_STAGES, tiny.encoder, tiny.encoder[1:], tiny.pool):
        conv(f"encoder.{first}.conv", frames * inputs, inputs, 1, bias=False)
        conv(f"encoder.{first + 1}", inputs, outputs, bias=False)
        for i in range(3):
            block(f"encoder.{first + 2 + i}", outputs)
    conv("encoder.17", tiny.encoder[-1], tiny.z_dim)
    conv("decoder.1", tiny.z_dim, tiny.decoder[0])
    for first, inputs, outputs, frames in zip(DECODER_STAGES, tiny.decoder, tiny.decoder[1:], tiny.grow):
        for i in range(3):
            block(f"decoder.{first + i}", inputs)
        conv(f"decoder.{first + 4}.conv", inputs, frames * inputs, 1, bias=False)
        conv(f"decoder.{first + 5}", inputs, outputs, bias=False)
    conv("decoder.22", tiny.decoder[-1], channels)
    return found


def draw(name: str, tiny: Tiny) -> Weights:
    """Random weights, in the type they are stored in. The last layer's are such that few colours are clamped."""
    weights = {}
    for key, shape in shapes(tiny).items():
        noise = torch.randn(shape, generator=generator(f"taehv.{name}.{key}"))
        if key == "decoder.22.bias":
            value = 0.45 + 0.1 * noise
        elif key.endswith("bias"):
            value = 0.4 * noise
        else:
            gain = {"decoder.22.weight": 0.15, "encoder.17.weight": 1.0}.get(key, 1.3)
            if ".conv.4." in key:  # the blocks' sums would grow
                gain = 1.0
            value = gain / math.sqrt(math.prod(shape[1:])) * noise
        weights[key] = value.to(tiny.dtype)
    return weights


def conv(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def blocks(weights: Weights, part: str, first: int, x: Tensor) -> Tensor:
    """Three blocks over all frames `[T, C, H, W]`; each frame sees what the block was given for the one before."""
    for i in range(first, first + 3):
        past = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        h = F.relu(conv(weights, f"{part}.{i}.conv.0", torch.cat([x, past], dim=1)))
        h = F.relu(conv(weights, f"{part}.{i}.conv.2", h))
        x = F.relu(conv(weights, f"{part}.{i}.conv.4", h) + x)
    return x


def encode(weights: Weights, tiny: Tiny, frames: Tensor) -> Tensor:
    """Latents [T, z, h, w] of RGB frames [F, 3, H, W] in 0..1."""
    stride = math.prod(tiny.pool)
    missing = -len(frames) % stride
    x = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
    x = F.relu(conv(weights, "encoder.0", F.pixel_unshuffle(x, tiny.patch)))
    for first, pooled in zip(ENCODER_STAGES, tiny.pool):
        t, c, h, w = x.shape
        x = conv(weights, f"encoder.{first}.conv", x.reshape(t // pooled, pooled * c, h, w))
        x = conv(weights, f"encoder.{first + 1}", x, stride=2)
        x = blocks(weights, "encoder", first + 2, x)
    return conv(weights, "encoder.17", x)


def decode(weights: Weights, tiny: Tiny, latents: Tensor) -> Tensor:
    """RGB frames [F, 3, H, W] in 0..1 of latents [T, z, h, w]."""
    x = F.relu(conv(weights, "decoder.1", 3 * torch.tanh(latents / 3)))
    for first, made in zip(DECODER_STAGES, tiny.grow):
        x = blocks(weights, "decoder", first, x)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        t, c, h, w = x.shape
        x = conv(weights, f"decoder.{first + 4}.conv", x).reshape(t * made, c, h, w)
        x = conv(weights, f"decoder.{first + 5}", x)
    x = F.pixel_shuffle(conv(weights, "decoder.22", F.relu(x)), tiny.patch)
    return x[math.prod(tiny.grow) - 1 :].clamp(0, 1)


def results(weights: Weights, name: str, tiny: Tiny) -> Weights:
    weights = {key: value.float() for key, value in weights.items()}
    # Beyond 3 too, where the clamp bends.
    latents = 1.5 * torch.randn((tiny.latents[0], tiny.z_dim, *tiny.latents[1:]), generator=generator(f"taehv.{name}.latents"))
    video = load_file(GOLDEN / name / "encode.safetensors")["video"].float()
    pixels = video.permute(0, 3, 1, 2) / 2 + 0.5
    found = {
        "latents": latents.transpose(0, 1),
        "frames": decode(weights, tiny, latents).permute(0, 2, 3, 1),
    }
    for frames in (1, 5, 17):
        found[f"latents_f{frames}"] = encode(weights, tiny, pixels[:frames]).transpose(0, 1)
    if name == "wan21":
        last = load_file(GOLDEN / name / "golden.safetensors")["steps"][-1]
        found["clip"] = decode(weights, tiny, last.transpose(0, 1)).permute(0, 2, 3, 1).half()
    return found


def check(name: str, tiny: Tiny, weights: Weights, found: Weights) -> None:
    """Every parameter, left out, has to show."""
    clamped = [((v == 0) | (v == 1)).float().mean().item() for k, v in found.items() if k in ("frames", "clip")]
    print(f"{name}: {sum(v.numel() for v in weights.values())} parameters, clamped {clamped}")
    for key in weights:
        without = results(weights | {key: torch.zeros_like(weights[key])}, name, tiny)
        part = "frames" if key.startswith("decoder") else "latents_f17"
        a, b = found[part].float(), without[part].float()
        off = ((a - b).square().mean() / a.var()).sqrt().item()
        assert off > 1e-2, f"{name}: {key} shows as {off:.1e} only"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for name, tiny in CASES.items():
        folder = GOLDEN / "taehv" / name
        weights = draw(name, tiny)
        found = {key: value.contiguous() for key, value in results(weights, name, tiny).items()}
        if args.check:
            check(name, tiny, weights, found)
            continue
        (folder / "vae").mkdir(parents=True, exist_ok=True)
        for file, tensors in (("vae/diffusion_pytorch_model", weights), ("golden", found)):
            path = folder / f"{file}.safetensors"
            save_file(tensors, path)
            path.chmod(0o644)
            print(f"{path.relative_to(GOLDEN)}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
