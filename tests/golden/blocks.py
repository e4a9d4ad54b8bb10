"""Clips of one tiny random pipeline in every number format that is read, by diffusers from the numbers that gguf-py reads in the files that
`kinetoscope synth` writes, and torch in 8-bit floats of those in F16. The weights themselves are not kept: they come from a seed."""

import json
import subprocess
import tempfile
from pathlib import Path

import gguf
import torch
from diffusers import WanPipeline
from transformers import UMT5Config, UMT5EncoderModel

from cases import REPOSITORY, Clip

FORMATS = ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0")
EIGHT_BITS = {"f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2}
# What stays as it is in files of 8-bit floats: all but the matrices of the blocks.
MATRICES = ("attn1.to_", "attn2.to_", "ffn.net", "SelfAttention.", "DenseReluDense")
SEED = 5
CLIP = Clip(
    "a red ball bounces on green grass", width=64, height=32, frames=5, steps=2, guidance_scale=3.0, seed=11,
    max_sequence_length=64, negative_prompt="blurry",
)


def synth(quant: str, folder: Path) -> None:
    """A tiny model of random weights."""
    program = ["cargo", "run", "--quiet", "--features", "cli", "--", "synth"]
    options = ["--config", "tiny", "--quant", quant, "--seed", str(SEED), str(folder)]
    subprocess.run([*program, *options], cwd=REPOSITORY, check=True)


def text_encoder(folder: Path) -> UMT5EncoderModel:
    """The encoder with its stored weights widened to f32."""
    encoder = UMT5EncoderModel(UMT5Config.from_pretrained(folder)).float()
    stored = gguf.GGUFReader(folder / "model.gguf").tensors
    values = {t.name: torch.tensor(gguf.dequantize(t.data, t.tensor_type)).reshape([*reversed(t.shape.tolist())]) for t in stored}
    missing, unexpected = encoder.load_state_dict(values, strict=False)
    # The embedding table goes by two names.
    assert set(missing) <= {"encoder.embed_tokens.weight"} and not unexpected, (missing, unexpected)
    return encoder.eval()


def narrow(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Matrices of the blocks as 8-bit floats, each with a scale with which its largest number becomes the format's largest."""
    for name, value in model.named_parameters():
        if value.dim() == 2 and any(part in name for part in MATRICES) and "relative" not in name:
            scale = value.abs().max() / torch.finfo(dtype).max
            value.copy_((value / scale).to(dtype).float() * scale)


@torch.no_grad()
def blocks(load_component, sample) -> dict[str, torch.Tensor]:
    """`<format>.prompt_embeds` of the real tokens and `<format>.steps`; `load_component(kind, folder)` gives transformer and VAE in f32."""
    golden = {}
    for quant in (*FORMATS, *EIGHT_BITS):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            synth("f16" if quant in EIGHT_BITS else quant, folder)
            parts = {kind: load_component(kind, folder / kind) for kind in ("transformer", "vae")}
            parts["text_encoder"] = text_encoder(folder / "text_encoder")
            if quant in EIGHT_BITS:
                narrow(parts["transformer"], EIGHT_BITS[quant])
                narrow(parts["text_encoder"], EIGHT_BITS[quant])
            pipeline = WanPipeline.from_pretrained(folder, dtype=torch.float32, **parts)
        pipeline.set_progress_bar_config(disable=True)
        found = sample(pipeline, CLIP)
        embeds = found["prompt_embeds"]
        golden[f"{quant}.prompt_embeds"] = embeds[embeds.abs().sum(dim=1) > 0]
        golden[f"{quant}.steps"] = found["steps"]
    return golden
