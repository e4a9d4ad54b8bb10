"""Trains the VAE on fresh clips and writes it as a diffusers folder.

Two phases. `joint`: encoder and decoder, with a weighted L1 (more where things move), the differences of neighbours in space and time, and a
little KL. `decoder`: the encoder is kept as it is, and the decoder learns to make clean pictures of latents that are a little off, as a
transformer's are.

    python train_vae.py --steps 8000                    # to work/vae, from scratch
    python train_vae.py --steps 8000 --init FOLDER      # from an exported VAE of the same widths
    python train_vae.py --phase decoder --steps 2000    # then this
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

import device
import quantised
import training
import wan_vae
from render import Stream, contact_sheet, render
from world import sample

HELD_OUT_STREAM = 900_001


def psnr(made: Tensor, true: Tensor) -> Tensor:
    """Decibels of each clip, for pictures [n, T, 3, S, S] in [0, 1]."""
    return -10 * ((made - true) ** 2).mean((1, 2, 3, 4)).clamp_min(1e-10).log10()


def reconstruction_loss(made: Tensor, true: Tensor) -> Tensor:
    """L1, up to four times heavier where a clip moves; L1 of the differences along time, height and width; and a clip's PSNR itself."""
    moving = ((true - true.mean(2, keepdim=True)).abs().amax(1, keepdim=True) / 0.3).clamp(0, 1)
    loss = ((made - true).abs() * (1 + 3 * moving)).mean()
    loss = loss + 0.05 * ((made - true) ** 2).mean((1, 2, 3, 4)).clamp_min(1e-5).log().mean()
    for axis in (2, 3, 4):
        loss = loss + (made.diff(dim=axis) - true.diff(dim=axis)).abs().mean()
    return loss


@torch.no_grad()
def evaluate(vae: AutoencoderKLWan, size: int, on: torch.device, count: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    """PSNR [count] of the reconstructions of clips from a stream that no training uses, with the mean and deviation [12] of their latents."""
    scores, latents = [], []
    for start in range(0, count, 12):
        true = render([sample(HELD_OUT_STREAM, start + i, held_out=None) for i in range(min(12, count - start))], size, 17, on)
        mean, _ = wan_vae.encode(vae, wan_vae.as_input(true))
        scores.append(psnr(wan_vae.as_pictures(wan_vae.decode(vae, mean)), true))
        latents.append(mean)
    every = torch.cat(latents).transpose(0, 1).flatten(1)
    return torch.cat(scores), every.mean(1), every.std(1)


@torch.no_grad()
def measure_latents(vae: AutoencoderKLWan, size: int, on: torch.device, count: int) -> None:
    """Writes the mean and the standard deviation of the latents of `count` training clips into the config."""
    stream = Stream(77, min(16, count), size, 17, on)
    latents = torch.cat([wan_vae.encode(vae, wan_vae.as_input(next(stream)[0]))[0] for _ in range(max(1, count // 16))])
    every = latents.transpose(0, 1).flatten(1)
    vae.register_to_config(latents_mean=every.mean(1).tolist(), latents_std=every.std(1).tolist())


@torch.no_grad()
def sheet(vae: AutoencoderKLWan, path: Path, size: int, on: torch.device, count: int = 10) -> None:
    """True clips beside their reconstructions."""
    clips = [sample(HELD_OUT_STREAM, i, held_out=None) for i in range(count)]
    true = render(clips, size, 17, on)
    made = wan_vae.as_pictures(wan_vae.decode(vae, wan_vae.encode(vae, wan_vae.as_input(true))[0]))
    rows = []
    for clip, a, b, score in zip(clips, true, made, psnr(made, true)):
        rows += [(a, clip.caption), (b, f"reconstructed, {score:.1f} dB")]
    contact_sheet(rows, path)


def write(vae: AutoencoderKLWan, folder: Path, size: int, on: torch.device, count: int) -> None:
    """Measures the latents and writes the VAE as a diffusers folder."""
    measure_latents(vae, size, on, count)
    vae.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(parser, name="vae", steps=10_000, batch=4, lr=2e-3)
    parser.add_argument("--phase", choices=("joint", "decoder"), default="joint")
    parser.add_argument("--init", type=Path, help="start from this exported VAE, which must have the same widths")
    parser.add_argument("--base", type=int, default=24, help="encoder width")
    parser.add_argument("--decoder", type=int, default=32, help="decoder width")
    parser.add_argument("--kl", type=float, default=3e-4, help="weight of the KL term")
    parser.add_argument(
        "--noise", type=float, default=0.12, help="decoder phase: noise on the latents, up to this share of their deviation"
    )
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--sheet", type=Path, help="only write a sheet of reconstructions by the run's averaged weights")
    device.add_arguments(parser)
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.chunk = 8
        args.steps, args.eval_every, args.batch = 3, 3, 2
    torch.manual_seed(args.seed)

    run = training.Run(args, on, {"phase": "joint", "init": bool(args.init)})
    vae = wan_vae.make(args.base, args.decoder)
    if args.init and run.saved is None:
        source = quantised.load("vae", args.init)
        if (source.config.base_dim, source.config.decoder_base_dim) != (args.base, args.decoder):
            parser.error(f"{args.init} has widths {source.config.base_dim} and {source.config.decoder_base_dim}")
        vae.load_state_dict(source.state_dict())
    vae = wan_vae.channels_last(vae).to(on)
    if args.sheet:
        vae.load_state_dict(run.saved["average"])
        sheet(vae, args.sheet, args.size, on)
        return
    if args.phase == "joint" and run.kept["phase"] == "decoder":
        print("this run's encoder is finished: --phase decoder goes on with it")
        return
    if args.phase == "decoder":
        if run.kept["phase"] == "joint":  # begins where the averaged weights of the joint phase are
            if run.saved:
                vae.load_state_dict(run.saved["average"])
            run.saved, run.step, run.kept["phase"] = None, 0, "decoder"
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
        measure_latents(vae, args.size, on, 16 if args.smoke else 256)
    started = args.phase == "decoder" or run.kept["init"]
    run.train(vae, decay=args.ema, head_start=500 if started else 0)

    stream = Stream(args.seed, args.batch, args.size, 17, on, position=run.position, chunk=args.chunk)
    for step in run.steps():
        pictures, _ = next(stream)
        # Most steps see windows of nine frames, which begin anywhere in a clip: every moment can be a first frame.
        if step % 4:
            start = int(torch.randint(0, 9, ()))
            pictures = pictures[:, start : start + 9]
        true = wan_vae.as_input(pictures)
        with device.mixed(on):
            if args.phase == "joint":
                mean, log_variance = wan_vae.encode(vae, true)
                warm = 1.0 if started else min(1.0, step / 300)
                kl = warm * 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
                latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() * warm
            else:
                with torch.no_grad():
                    mean, _ = wan_vae.encode(vae, true)
                kl = 0.0
                _, std = wan_vae.statistics(vae, mean)
                level = torch.rand(len(mean), 1, 1, 1, 1, device=on) * args.noise
                latents = mean + torch.randn_like(mean) * std * level
            made = wan_vae.decode(vae, latents)
        run.update(reconstruction_loss(made, true) + args.kl * kl, stream.position)
        if run.time_to_evaluate:
            scores, _, _ = evaluate(run.average, args.size, on, 4 if args.smoke else 48)
            low = scores.sort().values[: max(1, len(scores) // 10)].mean()
            print(f"step {run.step} held-out PSNR {scores.mean():.2f} dB, worst tenth {low:.2f} dB", flush=True)
    write(run.average, args.run / "export", args.size, on, 16 if args.smoke else 256)
    print(f"wrote {args.run / 'export'} at step {run.step} after {run.clock.seconds / 60:.1f} min")


if __name__ == "__main__":
    main()
