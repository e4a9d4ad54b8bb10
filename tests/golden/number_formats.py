"""Weights in quantised and 8-bit formats, and the numbers that gguf-py and torch read them as; and the way back, as gguf-py goes it."""

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


def quantised_values() -> dict[str, torch.Tensor]:
    """`values`, among them blocks of one value, of few, and of values far apart, and under each format's name the bytes gguf-py makes of them."""
    rng = np.random.default_rng(2)
    blocks = rng.normal(0, rng.uniform(0.001, 10, (96, 1)), (96, 32)).astype(np.float32)
    blocks[0] = 0
    blocks[1] = -0.75
    blocks[2, 1:] = 0
    blocks[3] = np.round(blocks[3]) + 0.5
    blocks[4, ::2] *= -1e-4
    blocks[5] = np.arange(32) / 4 - 4
    blocks[6] = np.abs(blocks[6]) + 1
    values = blocks.reshape(1, -1)
    tensors = {"values": torch.from_numpy(values.flatten())}
    for name in ("Q8_0", "Q4_0", "Q4_1", "F16", "BF16"):
        found = gguf.quantize(values, gguf.GGMLQuantizationType[name])
        tensors[name] = torch.from_numpy(np.ascontiguousarray(found).view(np.uint8).flatten())
    return tensors
