"""The transformer: its configuration, and a forward for training.

diffusers' WanTransformer3DModel takes a timestep for every token, and modulates every token by numbers of its own. Here all tokens of a latent
frame share theirs, and heads are so small that the CPU's fused attention is slower than plain products. This forward gives the same values
(to 1e-5) in a third of the time.

    python wan_transformer.py --smoke        # compare it with diffusers' own
"""

from __future__ import annotations

import argparse

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

import text
import wan_vae


def make(heads: int, head_dim: int, layers: int, ffn: int) -> WanTransformer3DModel:
    """A Wan transformer with random weights; its first output is zero."""
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=wan_vae.LATENT_CHANNELS,
        out_channels=wan_vae.LATENT_CHANNELS,
        text_dim=text.WIDTH,
        freq_dim=128,
        ffn_dim=ffn,
        num_layers=layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=128,
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model.patch_embedding.weight.flatten(1))
    nn.init.normal_(model.condition_embedder.time_proj.weight, std=0.02)
    nn.init.zeros_(model.proj_out.weight)
    return model


def _halves(weights: Tensor, heads: int) -> Tensor:
    """Rows of all heads: first the first channel of every neighbouring pair, then the second ones."""
    return weights.unflatten(0, (heads, -1, 2)).movedim(2, 0).flatten(0, 2)


def _attention(its: WanAttention, x: Tensor, context: Tensor, rope: tuple[Tensor, Tensor] | None) -> Tensor:
    """x [n, tokens, dim] attends to context [n, keys, dim].

    The rotary embedding turns neighbouring channels as pairs. Queries and keys have the same products in any order of their channels, so they are
    kept as two halves, which need not be put together again.
    """

    def project(layer: nn.Linear, norm: nn.RMSNorm, source: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias, scale = (_halves(p, its.heads) for p in (layer.weight, layer.bias, norm.weight))
        y = F.linear(source, weight, bias)
        wide = y.float()
        wide = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + norm.eps) * scale
        a, b = (half.unflatten(-1, (its.heads, -1)) for half in wide.chunk(2, -1))
        if rope:
            cos, sin = rope
            a, b = a * cos - b * sin, a * sin + b * cos
        return by_head(a.to(y.dtype)), by_head(b.to(y.dtype))

    def by_head(y: Tensor) -> Tensor:
        return y.transpose(1, 2).flatten(0, 1)

    (qa, qb), (ka, kb) = project(its.to_q, its.norm_q, x), project(its.to_k, its.norm_k, context)
    v = by_head(its.to_v(context).unflatten(-1, (its.heads, -1)))
    scores = torch.baddbmm(torch.bmm(qa, ka.mT), qb, kb.mT) * v.shape[-1] ** -0.5
    mixed = torch.bmm(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)
    return its.to_out[0](mixed.unflatten(0, (len(x), its.heads)).transpose(1, 2).flatten(2))


def _block(its: WanTransformerBlock, x: Tensor, prompt: Tensor, modulation: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """x [n, T, tokens of a frame, dim], modulation [n, T, 6, dim]."""
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (its.scale_shift_table[None] + modulation).split(1, 2)
    dim = x.shape[-1:]
    seen = (F.layer_norm(x, dim, eps=its.norm1.eps) * (1 + scale) + shift).flatten(1, 2)
    x = x + gate * _attention(its.attn1, seen, seen, rope).view_as(x)
    seen = F.layer_norm(x, dim, its.norm2.weight, its.norm2.bias, its.norm2.eps).flatten(1, 2)
    x = x + _attention(its.attn2, seen, prompt, None).view_as(x)
    seen = F.layer_norm(x, dim, eps=its.norm3.eps) * (1 + ffn_scale) + ffn_shift
    enter, leave = its.ffn.net[0].proj, its.ffn.net[2]
    return x + ffn_gate * leave(F.gelu(enter(seen), approximate="tanh"))


def _forward(model: WanTransformer3DModel, x: Tensor, timesteps: Tensor, prompt: Tensor) -> Tensor:
    n, _, frames, h, w = x.shape
    cos, sin = model.rope(x)
    rope = cos[..., 0::2], sin[..., 1::2]
    tokens = model.patch_embedding(x).float().flatten(3).permute(0, 2, 3, 1).contiguous()
    embedder = model.condition_embedder
    time = embedder.time_embedder(embedder.timesteps_proj(timesteps.flatten())).float().unflatten(0, (n, frames))
    modulation = embedder.time_proj(F.silu(time)).float().unflatten(-1, (6, -1))
    prompt = embedder.text_embedder(prompt)
    for block in model.blocks:
        tokens = _block(block, tokens, prompt, modulation, rope)
    shift, scale = (model.scale_shift_table[None] + time[:, :, None]).split(1, 2)
    tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=model.norm_out.eps) * (1 + scale) + shift
    patches = model.proj_out(tokens).float().view(n, frames, h // 2, w // 2, 2, 2, -1)
    return patches.permute(0, 6, 1, 2, 4, 3, 5).reshape(x.shape)


# One kernel between any two products: twice as fast on a CPU, after a minute of compiling.
_fused = torch.compile(_forward, dynamic=False)


def forward(model: WanTransformer3DModel, x: Tensor, timesteps: Tensor, prompt: Tensor) -> Tensor:
    """The velocity [n, C, T, h, w], in 32 bit, of latents x of that shape at timesteps [n, T] with encoded prompts [n, length, text dim].

    In mixed precision, which is how models are trained, it is compiled.
    """
    chosen = _fused if torch.is_autocast_enabled(x.device.type) else _forward
    return chosen(model, x, timesteps, prompt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="compare with diffusers' own forward")
    if not parser.parse_args().smoke:
        parser.error("there is nothing to run but --smoke")
    torch.manual_seed(0)
    model = make(4, 48, 2, 320)
    nn.init.normal_(model.proj_out.weight)
    x, prompt = torch.randn(3, wan_vae.LATENT_CHANNELS, 5, 4, 6), torch.randn(3, 11, text.WIDTH)
    timesteps = torch.rand(3, 5) * 1000
    timesteps[0, :2] = 0
    with torch.no_grad():
        theirs = model(x, timesteps.repeat_interleave(6, 1), prompt, return_dict=False)[0]
        error = ((forward(model, x, timesteps, prompt) - theirs).norm() / theirs.norm()).item()
    print(f"forward for training against diffusers' own: {error:.1e}")
    if error > 1e-5:
        raise SystemExit("they differ")


if __name__ == "__main__":
    main()
