"""Writes a model's transformer as ONNX graphs, for comparing Kinetoscope with ONNX Runtime (`./build.sh bench --graphs FOLDER`).

Two graphs, of what Kinetoscope computes once a clip and at every step: `context.onnx` makes the keys and values of every block's cross-attention
from the encoded prompt, `pass.onnx` is a pass. Both have the shapes of the model's default clip, with one timestep for all tokens. Weights are 32-bit, widened from
what the folder stores. Rotary embeddings are written without the assignments to slices that diffusers has, and attention is ONNX Runtime's own MultiHeadAttention:
it would pay for what the exporter makes of diffusers' code. The graphs are checked against diffusers' own model.

    python onnx_export.py --model ../small --out FOLDER      # needs onnx, onnxscript and onnxruntime as well
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from diffusers import WanTransformer3DModel

import quantised

OPSET = 20


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """`x` is `[batch, tokens, heads, head_dim]`; diffusers repeats each cosine and sine twice."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 0::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


class SelfAttention:
    """diffusers' processor, the rotary embedding in another form."""

    def __call__(self, attn, x, _context=None, _mask=None, rotary=None):
        q, k, v = (h.unflatten(2, (attn.heads, -1)) for h in (attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(x)), attn.to_v(x)))
        return attn.to_out[0](attend(rotate(q, *rotary), rotate(k, *rotary), v))


class CrossAttention:
    """Takes its block's keys and values from those of all blocks, `[blocks, 2, batch, tokens, heads, head_dim]`."""

    def __init__(self, block: int):
        self.block = block

    def __call__(self, attn, x, keys_values, _mask=None, _rotary=None):
        q = attn.norm_q(attn.to_q(x)).unflatten(2, (attn.heads, -1))
        return attn.to_out[0](attend(q, keys_values[self.block, 0], keys_values[self.block, 1]))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """ONNX Runtime's own operation, of `[batch, tokens, heads, head_dim]`; it can be exported, not run."""
    shape = (*q.shape[:2], q.shape[2] * q.shape[3])
    inputs = tuple(x.flatten(2) for x in (q, k, v))
    attributes = {"num_heads": q.shape[2]}
    name = "com.microsoft::MultiHeadAttention"
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=q.dtype, shape=shape, version=1)


class Context(torch.nn.Module):
    """Keys and values of all blocks, of an encoded prompt `[batch, tokens, text_dim]`."""

    def __init__(self, model: WanTransformer3DModel):
        super().__init__()
        self.text_embedder = model.condition_embedder.text_embedder
        self.attentions = torch.nn.ModuleList(block.attn2 for block in model.blocks)

    def forward(self, encoder_hidden_states: torch.Tensor) -> torch.Tensor:
        text = self.text_embedder(encoder_hidden_states)
        pairs = [torch.stack((a.norm_k(a.to_k(text)), a.to_v(text))) for a in self.attentions]
        return torch.stack(pairs).unflatten(-1, (self.attentions[0].heads, -1))


class Pass(torch.nn.Module):
    def __init__(self, model: WanTransformer3DModel):
        super().__init__()
        self.model = model
        model.condition_embedder.text_embedder = torch.nn.Identity()
        for index, block in enumerate(model.blocks):
            block.attn1.set_processor(SelfAttention())
            block.attn2.set_processor(CrossAttention(index))

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        return self.model(hidden_states, timestep, keys_values, return_dict=False)[0]


def export(module: torch.nn.Module, inputs: dict[str, torch.Tensor], output: str, path: Path) -> None:
    program = torch.onnx.export(
        module.eval(), (), kwargs=inputs, dynamo=True, opset_version=OPSET, output_names=[output], verbose=False
    )
    program.save(path, external_data=False)


def run(path: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="diffusers folder, quantised or not")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    settings = json.loads((args.model / "kinetoscope.json").read_text())
    vae = json.loads((args.model / "vae" / "config.json").read_text())
    model = quantised.load("transformer", args.model / "transformer").eval()
    frames = (settings["frames"] - 1) // vae["scale_factor_temporal"] + 1
    height, width = (settings[side] // vae["scale_factor_spatial"] for side in ("height", "width"))
    torch.manual_seed(0)
    latents = torch.randn(1, model.config.in_channels, frames, height, width)
    prompt = torch.randn(1, settings["max_sequence_length"], model.config.text_dim)
    timestep = torch.tensor([500.0])
    args.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        expected = model(latents, timestep, prompt, return_dict=False)[0].numpy()
        context = Context(model)
        keys_values = context(prompt)
        export(context, {"encoder_hidden_states": prompt}, "keys_values", args.out / "context.onnx")
        inputs = {"hidden_states": latents, "timestep": timestep, "keys_values": keys_values}
        export(Pass(model), inputs, "velocity", args.out / "pass.onnx")
    found = run(args.out / "context.onnx", {"encoder_hidden_states": prompt})
    inputs["keys_values"] = torch.from_numpy(found)
    error = np.abs(run(args.out / "pass.onnx", inputs) - expected).max() / np.abs(expected).max()
    print(f"wrote {args.out}; largest difference from diffusers, of the largest value: {error:.1e}")
    if error > 1e-4:
        raise SystemExit("the graphs do not compute what diffusers does")


if __name__ == "__main__":
    main()
