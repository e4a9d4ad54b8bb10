"""Names and shapes of the published models' tensors, with their configs: no weights are made.

Names and shapes are those of diffusers' and transformers' own classes, built on torch's meta device from the configs that the checkpoints come
with. Numbered layers whose tensors are alike are written once, `*` for their number.
"""

import re

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

TRANSFORMER = {"attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "text_dim": 4096, "freq_dim": 256}
TI2V = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "is_residual": True,
    "temperal_downsample": [False, True, True], "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
}
UMT5_XXL = {
    "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu", "model_type": "umt5",
}
MODELS = {
    "wan2.1-1.3b": (WanTransformer3DModel, {**TRANSFORMER, "num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}),
    "wan2.1-14b": (WanTransformer3DModel, {**TRANSFORMER, "num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}),
    "wan2.2-ti2v-5b": (
        WanTransformer3DModel,
        {**TRANSFORMER, "num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48},
    ),
    "umt5-xxl": (lambda **config: UMT5EncoderModel(UMT5Config(**config)), UMT5_XXL),
    "vae2.1": (AutoencoderKLWan, {}),
    "vae2.2": (AutoencoderKLWan, TI2V),
}
# Layers of one number that are alike, by what comes before their number.
REPEATED = re.compile(r"^(blocks|encoder\.block)\.(\d+)\.")


def shapes() -> dict[str, dict]:
    """By model: its config, its tensors' shapes by name, and how often `*` repeats."""
    found = {}
    for name, (build, config) in MODELS.items():
        with torch.device("meta"):
            model = build(**config)
        tensors, numbers = {}, {0}
        for key, tensor in model.state_dict().items():
            if match := REPEATED.match(key):
                numbers.add(int(match[2]))
                key = f"{match[1]}.*.{key[match.end():]}"
            shape = list(tensor.shape)
            if tensors.setdefault(key, shape) != shape:
                raise ValueError(f"{name}: {key} has two shapes")
        found[name] = {"config": config, "tensors": tensors, "repeats": max(numbers) + 1}
    return found
