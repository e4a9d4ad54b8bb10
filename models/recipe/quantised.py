"""Components with most of their weights in 8-bit blocks (ggml's Q8_0), as GGUF files with diffusers' names; and back.

A block is 32 neighbouring weights: a 16-bit scale and 32 signed bytes. What is small or sensitive (embeddings, modulation, norms, biases, first and
last layers) stays in 16 bits. A kernel whose rows are no whole blocks is stored flat, its shape in the metadata, as ComfyUI-GGUF does it.

    python quantised.py FOLDER OUT      # a diffusers folder, transformer and VAE quantised
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.models.modeling_utils import ModelMixin
from gguf import GGMLQuantizationType as Type

FILE = "diffusion_pytorch_model.gguf"
SHAPE_KEY = "comfy.gguf.orig_shape."
KEPT = ("patch_embedding", "condition_embedder", "proj_out", "scale_shift_table", "norm", "conv_in", "conv_out", "quant_conv")
CLASSES: dict[str, type[ModelMixin]] = {"transformer": WanTransformer3DModel, "vae": AutoencoderKLWan}


def quantisable(name: str, shape: torch.Size) -> bool:
    return len(shape) > 1 and shape.numel() % 32 == 0 and shape.numel() >= 1024 and not any(part in name for part in KEPT)


def save(component: ModelMixin, folder: Path) -> None:
    """Writes config and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not `save_config`: it notes where on this machine the component came from.
    config = {key: value for key, value in component.config.items() if key != "_name_or_path"}
    config = {"_class_name": type(component).__name__, **config}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    writer = gguf.GGUFWriter(folder / FILE, "wan")
    for name, tensor in component.state_dict().items():
        values = tensor.detach().float().cpu().contiguous().numpy()
        if not quantisable(name, tensor.shape):
            writer.add_tensor(name, values.astype(np.float16))
            continue
        if values.ndim > 2 or values.shape[-1] % 32:
            writer.add_array(SHAPE_KEY + name, list(values.shape))
            values = values.reshape(-1)
        writer.add_tensor(name, gguf.quantize(values, Type.Q8_0), raw_dtype=Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load(kind: str, folder: Path) -> ModelMixin:
    """The component in a folder in 32 bits, whether it is quantised or not."""
    cls = CLASSES[kind]
    if not (folder / FILE).exists():
        return cls.from_pretrained(folder).float()
    component = cls.from_config(cls.load_config(folder))
    shapes = {name: tensor.shape for name, tensor in component.state_dict().items()}
    values = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(folder / FILE).tensors}
    component.load_state_dict({name: torch.tensor(v).reshape(shapes[name]) for name, v in values.items()})
    return component


def convert(source: Path, out: Path) -> None:
    """Copies a diffusers folder, transformer and VAE quantised."""
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(*CLASSES), dirs_exist_ok=True)
    for kind in CLASSES:
        save(load(kind, source / kind), out / kind)


def megabytes(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="diffusers folder")
    parser.add_argument("out", type=Path, help="folder to write")
    args = parser.parse_args()
    convert(args.source, args.out)
    print(f"wrote {args.out}, {megabytes(args.out):.2f} MB")


if __name__ == "__main__":
    main()
