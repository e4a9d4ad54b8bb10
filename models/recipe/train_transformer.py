"""Trains transformer and text encoder together by flow matching on latents of fresh clips, for all four tasks at once.

python train_transformer.py --vae work/vae/export
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import nn
from transformers import UMT5EncoderModel

import device
import flow
import quantised
import text
import training
import wan_transformer
import wan_vae
from latents import LatentPool
from render import Stream, render
from train_vae import HELD_OUT_STREAM
from world import sample


class Model(nn.Module):
    """Transformer and text encoder, trained as one."""

    def __init__(self, heads: int, head_dim: int, layers: int, ffn: int) -> None:
        super().__init__()
        self.transformer = wan_transformer.make(heads, head_dim, layers, ffn)
        self.text_encoder = text.make()

    def prompt(self, prompts: list[str], on: torch.device) -> torch.Tensor:
        return text.encode(self.text_encoder, *text.tokenize(prompts, on))

    def load(self, folder: Path) -> None:
        """Takes the weights of an exported model of the same widths."""
        self.transformer.load_state_dict(quantised.load("transformer", folder / "transformer").state_dict())
        self.text_encoder.load_state_dict(UMT5EncoderModel.from_pretrained(folder / "text_encoder").float().state_dict())

    def save(self, folder: Path) -> None:
        self.transformer.save_pretrained(folder / "transformer")
        self.text_encoder.save_pretrained(folder / "text_encoder")
        text.save(folder / "tokenizer")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--heads", type=int, default=4, help="attention heads; heads x head-dim is the width, a multiple of 32")
    parser.add_argument("--head-dim", type=int, default=48)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn", type=int, default=640, help="width of the feed-forward layers")
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export", help="exported VAE")
    parser.add_argument("--frames", type=int, default=17, help="4k + 1")
    parser.add_argument("--pool", type=int, default=4096, help="clips kept encoded")
    parser.add_argument("--fresh", type=int, default=8, help="clips encoded anew each step; a clip is used batch / fresh times")
    parser.add_argument("--dropout", type=float, default=0.12, help="share of captions left out, for guidance")
    parser.add_argument("--ema", type=float, default=0.9993, help="decay of the averaged weights")


def load_vae(folder: Path, on: torch.device) -> AutoencoderKLWan:
    return wan_vae.channels_last(quantised.load("vae", folder)).to(on).eval().requires_grad_(False)


@torch.no_grad()
def held_out_loss(model: Model, vae: AutoencoderKLWan, size: int, frames: int, on: torch.device, count: int) -> float:
    """Flow matching loss without given frames, on clips that no training uses, at fixed noise."""
    losses = []
    with torch.random.fork_rng(devices=[on] if on.type == "cuda" else []):
        torch.manual_seed(7)
        for start in range(0, count, 32):
            clips = [sample(HELD_OUT_STREAM, 10_000 + start + i) for i in range(min(32, count - start))]
            x = wan_vae.normalised(vae, wan_vae.encode(vae, wan_vae.as_input(render(clips, size, frames, on)))[0])
            given = torch.zeros(len(x), x.shape[2], dtype=torch.bool, device=on)
            losses.append(
                flow.loss(model.transformer, x, model.prompt([c.caption for c in clips], on), flow.draw_sigmas(len(x), on), given)
            )
    return torch.cat(losses).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(parser, name="transformer", steps=12_000, batch=48, lr=1.2e-3)
    add_model_arguments(parser)
    parser.add_argument("--init", type=Path, help="start from this exported model, which must have the same widths")
    parser.add_argument("--first", type=int, default=1024, help="clips encoded before the first step")
    device.add_arguments(parser)
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.chunk = 8
        args.steps, args.eval_every, args.pool, args.batch, args.layers = 4, 4, 16, 8, 2
    torch.manual_seed(args.seed)

    run = training.Run(args, on, {"heads": args.heads, "head_dim": args.head_dim, "layers": args.layers, "ffn": args.ffn})
    model = Model(**run.kept).to(on)
    if args.init and run.saved is None:
        model.load(args.init)
    run.train(model, decay=args.ema, weight_decay=0.02, head_start=2000 if args.init else 0)
    vae = load_vae(args.vae, on)
    pool = LatentPool(
        vae, Stream(args.seed, args.fresh, args.size, args.frames, on, position=run.position, chunk=args.chunk), args.pool
    )
    pool.renew(min(args.pool, 16 if args.smoke else args.first))
    print(f"first clips encoded after {run.clock.seconds / 60:.1f} min", flush=True)
    for _ in run.steps():
        pool.renew(args.fresh)
        x, captions = pool.batch(args.batch)
        captions = ["" if drop else c for c, drop in zip(captions, (torch.rand(len(captions)) < args.dropout).tolist())]
        given = flow.given_frames(len(x), x.shape[2], on)
        with device.mixed(on):
            loss = flow.loss(model.transformer, x, model.prompt(captions, on), flow.draw_sigmas(len(x), on), given).mean()
        run.update(loss, pool.stream.position)
        if run.time_to_evaluate:
            held_out = held_out_loss(run.average, vae, args.size, args.frames, on, 8 if args.smoke else 192)
            print(f"step {run.step} held-out loss {held_out:.4f}", flush=True)
    run.average.save(args.run / "export")
    print(f"wrote {args.run / 'export'} at step {run.step} after {run.clock.seconds / 60:.1f} min")


if __name__ == "__main__":
    main()
