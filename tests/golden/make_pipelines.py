"""Makes the tiny random WanPipelines of the golden tests as ordinary diffusers folders.

    python make_pipelines.py            # all of cases.py, into <case>/pipeline/
    python make_pipelines.py wan21 odd  # only these

Versions: requirements.txt (torch 2.15.0, diffusers 0.42.1, transformers 5.23.0). The weights are a function of the
parameter's name alone, so the folders are the same on every run.

Every parameter is drawn: with the usual initialisation norms are 1, biases 0 and the scale-shift tables tiny, and a
runtime that forgets one of them would still pass. The scales keep activations near 1 and attention far from uniform.
"""

import argparse
import json
import math
import shutil
import sys
import zlib

import diffusers
import torch
import transformers
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from cases import CASES, GOLDEN, Case
from tiny_tokenizers import tiny_tokenizer


def generator(name: str) -> torch.Generator:
    """A generator seeded by the name: a parameter's values do not depend on what was drawn before it."""
    return torch.Generator("cpu").manual_seed(zlib.crc32(name.encode()))


# Gain of a weight of `fan_in` inputs over 1/sqrt(fan_in), by the end of the parameter's name; first match.
GAINS = [
    ("time_proj.weight", 0.6),
    ("to_out.0.weight", 1.5),
    ("to_qkv.weight", 1.4),
    ("decoder.conv_out.weight", 0.75),
    ("conv1.weight", 1.5),  # after SiLU
    ("conv2.weight", 1.5),
    ("net.2.weight", 1.6),  # after GELU
    ("wo.weight", 1.6),
]


def randomise(module: torch.nn.Module, prefix: str, d_kv: int = 1) -> None:
    """Draws every parameter of `module` in place. `d_kv`: head size of UMT5, whose logits are not scaled by it."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator(f"{prefix}.{name}"))
            if "relative_attention_bias" in name or name.startswith("shared"):
                value = noise
            elif name.endswith(("to_q.bias", "to_k.bias")):  # the softmax takes most of these out again
                value = 0.6 * noise
            elif "scale_shift_table" in name or name.endswith("bias"):
                value = 0.3 * noise
            elif name.endswith(("norm_q.weight", "norm_k.weight")):
                # Cross-attention far from uniform: a few real tokens have to stand out among hundreds of padded ones.
                value = (1.9 if "attn2" in name else 1.4) * (1 + 0.35 * noise)
            elif "norm" in name:  # LayerNorm and RMSNorm weights, the VAE's gamma
                value = 1 + (0.45 if name.endswith("gamma") else 0.3) * noise
            else:
                fan_in = math.prod(parameter.shape[1:])
                gain = next((gain for end, gain in GAINS if name.endswith(end)), 1.0)
                if name.endswith(("SelfAttention.q.weight", "SelfAttention.k.weight")):
                    gain = d_kv**-0.25
                value = gain / math.sqrt(fan_in) * noise
            parameter.copy_(value)


def build(name: str, case: Case) -> WanPipeline:
    """The pipeline of a case with drawn weights, in the types they are stored in."""
    tokenizer = tiny_tokenizer(case.tokenizer)
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), dropout_rate=0.0, **case.text_encoder)
    ).eval()
    z_dim = case.vae["z_dim"]
    transformer = WanTransformer3DModel(
        in_channels=z_dim, out_channels=z_dim, text_dim=case.text_encoder["d_model"], **case.transformer
    ).eval()
    means = 0.6 * torch.randn(z_dim, generator=generator(f"{name}.latents_mean"))
    stds = torch.exp(0.35 * torch.randn(z_dim, generator=generator(f"{name}.latents_std")))
    vae = AutoencoderKLWan(latents_mean=means.tolist(), latents_std=stds.tolist(), **case.vae).eval()

    randomise(text_encoder, f"{name}.text_encoder", d_kv=case.text_encoder["d_kv"])
    randomise(transformer, f"{name}.transformer")
    randomise(vae, f"{name}.vae")

    scheduler = dict(case.scheduler)
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        transformer=transformer,
        vae=vae,
        scheduler=getattr(diffusers, scheduler.pop("_class_name"))(**scheduler),
        expand_timesteps=case.expand_timesteps,
    )
    for component, dtype in case.dtypes.items():
        getattr(pipeline, component).to(getattr(torch, dtype))
    return pipeline


def save(name: str, case: Case, pipeline: WanPipeline) -> None:
    """Writes <name>/pipeline/, replacing what is there."""
    folder = GOLDEN / name / "pipeline"
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder)
    for component, largest in case.shards.items():
        shutil.rmtree(folder / component)
        getattr(pipeline, component).save_pretrained(folder / component, max_shard_size=largest)
    if case.described:
        clip = case.clip
        described = {
            "name": name,
            "max_sequence_length": clip.max_sequence_length,
            "width": clip.width,
            "height": clip.height,
            "frames": clip.frames,
            "fps": 8,
            "steps": clip.steps,
            "guidance_scale": clip.guidance_scale,
            "negative_prompt": clip.negative_prompt,
        }
        (folder / "kinetoscope.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    counts = {
        part: sum(p.numel() for p in getattr(pipeline, part).parameters())
        for part in ("transformer", "text_encoder", "vae")
    }
    print(f"{name}: {size / 1e3:.0f} kB, parameters {counts}, vocabulary {len(pipeline.tokenizer)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"which: {', '.join(CASES)}; all by default")
    names = parser.parse_args().cases or list(CASES)
    if unknown := set(names) - set(CASES):
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for name in names:
        save(name, CASES[name], build(name, CASES[name]))


if __name__ == "__main__":
    main()
