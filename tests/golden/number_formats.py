"""Weights in quantised and 8-bit formats, and the numbers that gguf-py and torch read them as."""

import gguf
import numpy as np
import torch

BLOCKS = 4
# Where a block's f16 scales are (ggml-common.h): random bytes there would often be infinite.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def number_formats() -> dict[str, torch.Tensor]:
    """`NAME.bytes` and `NAME.values`: random blocks of every format, and every finite 8-bit float."""
    rng = np.random.default_rng(1)
    tensors = {}
    for name, scales in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        for at in scales:
            blocks[:, at : at + 2] = rng.normal(0, 0.02, (BLOCKS, 1)).astype(np.float16).view(np.uint8)
        tensors[f"{name}.bytes"] = torch.from_numpy(blocks.flatten())
        tensors[f"{name}.values"] = torch.from_numpy(gguf.dequantize(blocks, kind).flatten())
    for name, dtype in {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}.items():
        every = torch.arange(256, dtype=torch.uint8)
        finite = every.view(dtype).float().isfinite()
        tensors[f"{name}.bytes"] = every[finite]
        tensors[f"{name}.values"] = every[finite].view(dtype).float()
    return tensors
