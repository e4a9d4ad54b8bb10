"""The names of tensors in other layouts than diffusers', with diffusers' and transformers' names for them.

Diffusers' converters go from Wan's names to its own; gguf-py maps transformers' names to ggml's. The names of Wan's UMT5 and of the 2.2 VAE, for
which there is no converter in either package, are written here after Wan's modules (`wan/modules/t5.py`, `vae2_2.py`).
"""

import re

import gguf
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from safetensors import safe_open

from cases import GOLDEN

Names = dict[str, str]

TRANSFORMER = [
    (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^proj_out", "head.head"),
    (r"^scale_shift_table", "head.modulation"),
    (r"scale_shift_table$", "modulation"),
    (r"attn1", "self_attn"),
    (r"attn2", "cross_attn"),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"ffn\.net\.0\.proj", "ffn.0"),
    (r"ffn\.net\.2", "ffn.2"),
    (r"\.norm2\.", ".norm3."),
]
RESIDUAL = [
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
]
VAE = [
    *RESIDUAL,
    (r"^quant_conv", "conv1"),
    (r"^post_quant_conv", "conv2"),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"mid_block\.resnets\.0", "middle.0"),
    (r"mid_block\.resnets\.1", "middle.2"),
    (r"mid_block\.attentions\.0", "middle.1"),
]
VAE_21 = [
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"upsamples.{4 * int(m[1]) + int(m[2])}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"upsamples.{4 * int(m[1]) + 3}"),
    (r"down_blocks", "downsamples"),
]
# Two residual blocks a size in the encoder, three in the decoder; what changes the size comes after them.
VAE_22 = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"downsamples.\1.downsamples.\2"),
    (r"down_blocks\.(\d)\.downsampler", r"downsamples.\1.downsamples.2"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", r"upsamples.\1.upsamples.\2"),
    (r"up_blocks\.(\d)\.upsampler", r"upsamples.\1.upsamples.3"),
]
UMT5 = [
    (r"^shared", "token_embedding"),
    (r"^encoder\.final_layer_norm", "norm"),
    (r"^encoder\.block\.", "blocks."),
    (r"layer\.0\.SelfAttention\.relative_attention_bias", "pos_embedding.embedding"),
    (r"layer\.0\.SelfAttention", "attn"),
    (r"layer\.0\.layer_norm", "norm1"),
    (r"layer\.1\.layer_norm", "norm2"),
    (r"layer\.1\.DenseReluDense\.wi_0", "ffn.gate.0"),
    (r"layer\.1\.DenseReluDense\.wi_1", "ffn.fc1"),
    (r"layer\.1\.DenseReluDense\.wo", "ffn.fc2"),
]


def keys(path: str) -> list[str]:
    with safe_open(GOLDEN / path, "pt") as file:
        return list(file.keys())


def renamed(ours: list[str], rules: list) -> Names:
    names = {}
    for key in ours:
        theirs = key
        for pattern, name in rules:
            theirs = re.sub(pattern, name, theirs)
        names[theirs] = key
    assert len(names) == len(ours)
    return names


def converted(names: Names, converter) -> Names:
    """The same, once diffusers' own converter has agreed."""
    for ours, theirs in converter({theirs: theirs for theirs in names}).items():
        # Wan 2.1 widens at one place of its decoder alone, and no other shortcut is converted; the tiny pipeline has one more.
        if names[theirs] != ours and theirs.removesuffix(".weight").removesuffix(".bias") != "decoder.upsamples.8.shortcut":
            raise ValueError(f"{theirs} is {ours} in diffusers, not {names[theirs]}")
    return names


def names() -> dict[str, Names]:
    """Layouts by name: the names there, and ours."""
    transformer = keys("wan21/pipeline/transformer/diffusion_pytorch_model.safetensors")
    umt5 = keys("wan21/pipeline/text_encoder/model.safetensors")
    vae21 = keys("wan21/pipeline/vae/diffusion_pytorch_model.safetensors")
    vae22 = keys("wan22/pipeline/vae/diffusion_pytorch_model.safetensors")
    ggml = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, 2)
    return {
        "transformer": converted(renamed(transformer, TRANSFORMER), convert_wan_transformer_to_diffusers),
        "umt5": renamed(umt5, UMT5),
        "umt5_ggml": {ggml.get_name(key, try_suffixes=(".weight",)): key for key in umt5},
        "vae21": converted(renamed(vae21, [*VAE, *VAE_21]), convert_wan_vae_to_diffusers),
        "vae22": renamed(vae22, [*VAE, *VAE_22]),
    }
