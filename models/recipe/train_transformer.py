"""Trains transformer and text encoder together by flow matching on latents of fresh clips, for all four tasks at once.

python train_transformer.py --vae work/vae/export
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import nn

import device
import flow
import muon
import text
import training
import wan_vae
from latents import LatentPool
from render import Stream, render
from train_vae import HELD_OUT_STREAM
from world import sample


class Model(nn.Module):
    """Transformer and text encoder, trained as one."""

    def __init__(self, heads: int, head_dim: int, layers: int, ffn: int) -> None:
        super().__init__()
        self.transformer = flow.make_transformer(heads, head_dim, layers, ffn)
        self.text_encoder = text.make()

    def prompt(self, prompts: list[str], on: torch.device) -> torch.Tensor:
        return text.encode(self.text_encoder, *text.tokenize(prompts, on))


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--heads", type=int, default=7, help="attention heads; heads x head-dim is the width, a multiple of 32")
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn", type=int, default=576, help="width of the feed-forward layers")
    parser.add_argument("--vae", type=Path, default=training.WORK / "vae" / "export", help="exported VAE")
    parser.add_argument("--frames", type=int, default=17, help="4k + 1")
    parser.add_argument("--pool", type=int, default=4096, help="clips kept encoded")
    parser.add_argument("--fresh", type=int, default=8, help="clips encoded anew each step; a clip is used batch / fresh times")
    parser.add_argument("--dropout", type=float, default=0.12, help="share of captions left out, for guidance")
    parser.add_argument("--ema", type=float, default=0.9993, help="decay of the averaged weights")


def load_vae(folder: Path, on: torch.device) -> AutoencoderKLWan:
    return wan_vae.channels_last(AutoencoderKLWan.from_pretrained(folder)).to(on).eval().requires_grad_(False)


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
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    device.add_arguments(parser)
    args = parser.parse_args()
    on = device.prepare(args)
    if args.smoke:
        args.chunk = 8
        args.steps, args.eval_every, args.pool, args.batch, args.layers = 4, 4, 16, 8, 2
    torch.manual_seed(args.seed)

    path = args.run / "checkpoint.pt"
    saved = training.load(path, on)
    shape = saved["shape"] if saved else {"heads": args.heads, "head_dim": args.head_dim, "layers": args.layers, "ffn": args.ffn}
    model = Model(**shape).to(on)
    average = training.Average(model, copy.deepcopy(model), args.ema)
    optimisers = muon.optimisers(model.named_parameters(), args.lr, weight_decay=0.02)
    state = {"step": 0, "position": 0}
    if saved:
        model.load_state_dict(saved["model"])
        average.copy.load_state_dict(saved["average"])
        for optimiser, its in zip(optimisers, saved["optimisers"]):
            optimiser.load_state_dict(its)
        state = {k: saved[k] for k in state}
    vae = load_vae(args.vae, on)
    if args.compile:
        model.transformer.compile()
    pool = LatentPool(
        vae, Stream(args.seed, args.fresh, args.size, args.frames, on, position=state["position"], chunk=args.chunk), args.pool
    )

    def checkpoint() -> None:
        training.save(
            path,
            {
                "shape": shape,
                "model": model.state_dict(),
                "average": average.copy.state_dict(),
                "optimisers": [o.state_dict() for o in optimisers],
                **state,
            },
        )

    parts = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    print(f"parameters in millions: {parts}, from step {state['step']}", flush=True)
    clock = training.Clock(args.minutes, args.save_every)
    pool.renew(min(args.pool, 16 if args.smoke else 768))
    print(f"first clips encoded after {clock.seconds / 60:.1f} min", flush=True)
    smooth, done = None, 0
    while state["step"] < args.steps and not clock.out_of_time():
        step = state["step"]
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = args.lr * training.rate(step, args.steps, args.cooldown)
        pool.renew(args.fresh)
        x, captions = pool.batch(args.batch)
        captions = ["" if drop else c for c, drop in zip(captions, (torch.rand(len(captions)) < args.dropout).tolist())]
        given = flow.given_frames(len(x), x.shape[2], on)
        with device.mixed(on):
            loss = flow.loss(model.transformer, x, model.prompt(captions, on), flow.draw_sigmas(len(x), on), given).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        average.update(step)
        state |= {"step": step + 1, "position": pool.stream.position}
        done += args.batch
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if state["step"] % 50 == 0:
            print(
                f"step {state['step']} loss {smooth:.4f}  {done / clock.seconds:.0f} samples/s  {clock.seconds / 60:.1f} min",
                flush=True,
            )
        if state["step"] % args.eval_every == 0:
            print(
                f"step {state['step']} held-out loss {held_out_loss(average.copy, vae, args.size, args.frames, on, 8 if args.smoke else 192):.4f}",
                flush=True,
            )
        if clock.time_to_save():
            checkpoint()
    checkpoint()
    average.copy.transformer.save_pretrained(args.run / "export" / "transformer")
    average.copy.text_encoder.save_pretrained(args.run / "export" / "text_encoder")
    text.save(args.run / "export" / "tokenizer")
    print(f"wrote {args.run / 'export'} at step {state['step']} after {clock.seconds / 60:.1f} min")


if __name__ == "__main__":
    main()
