"""Clips of one tiny random pipeline in every number format that `kinetoscope synth` writes, by diffusers from the numbers that gguf-py reads in
its files. The weights themselves are not kept: they come from a seed."""

import json
import subprocess
import tempfile
from pathlib import Path

import gguf
import torch
from diffusers import WanPipeline
from transformers import UMT5Config, UMT5EncoderModel

from cases import REPOSITORY, Clip

FORMATS = ("f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_1", "q4_0")
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


def blocks(load_component, sample) -> dict[str, torch.Tensor]:
    """`<format>.prompt_embeds` of the real tokens and `<format>.steps`; `load_component(kind, folder)` gives transformer and VAE in f32."""
    golden = {}
    for quant in FORMATS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            synth(quant, folder)
            parts = {kind: load_component(kind, folder / kind) for kind in ("transformer", "vae")}
            parts["text_encoder"] = text_encoder(folder / "text_encoder")
            pipeline = WanPipeline.from_pretrained(folder, dtype=torch.float32, **parts)
        pipeline.set_progress_bar_config(disable=True)
        found = sample(pipeline, CLIP)
        embeds = found["prompt_embeds"]
        golden[f"{quant}.prompt_embeds"] = embeds[embeds.abs().sum(dim=1) > 0]
        golden[f"{quant}.steps"] = found["steps"]
    return golden
