"""The components of tiny pipelines as people's single files: GGUF, under Wan's and ggml's names, without configs.

    wan21/files/transformer.gguf   Wan's names, matrices in F16, the rest in F32 (the common recipe)
    wan21/files/text_encoder.gguf  ggml's names, matrices in BF16, the tokenizer as llama.cpp's converter writes it
    wan21/files/vae.gguf           Wan's names, F16
    wan21/files/spiece.model       the tokenizer as SentencePiece's own model, which Comfy's files have as the tensor `spiece_model`
    wan21/files/spiece.json        `text` and the `ids` that the sentencepiece package makes of it, with </s> appended as ComfyUI does
    head128/files/transformer-{q8_0,q4_0}.gguf  Wan's names, the blocks' matrices quantised by gguf-py, the rest in F16

Numbers are those of the folder. What shapes do not say, and the published models do not have, is in the metadata: how wide a head is
(`wan.attention.key_length`), and the statistics of the latents (`config`).
"""

import base64
import json

import gguf
import numpy as np
import sentencepiece
import torch
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load_file
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from cases import GOLDEN
from names import names
from prompts import CLEAN, TOKENS

PIPELINE = GOLDEN / "wan21" / "pipeline"


def writer(name: str, architecture: str, case: str = "wan21") -> gguf.GGUFWriter:
    folder = GOLDEN / case / "files"
    folder.mkdir(exist_ok=True)
    return gguf.GGUFWriter(folder / f"{name}.gguf", architecture)


def close(file: gguf.GGUFWriter) -> None:
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def add(file: gguf.GGUFWriter, name: str, tensor: torch.Tensor, matrices: gguf.GGMLQuantizationType) -> None:
    kind = matrices if tensor.dim() > 1 else gguf.GGMLQuantizationType.F32
    values = tensor.float().numpy()
    if kind == gguf.GGMLQuantizationType.F16:
        values = values.astype(np.float16)
    elif kind != gguf.GGMLQuantizationType.F32:
        values = gguf.quantize(values, kind)
    file.add_tensor(name, values, raw_dtype=kind)


def pieces(document: dict, rows: int) -> list[tuple[str, float, int]]:
    """The pieces of a tokenizer.json, filled up to the embedding table's rows: text, score and type. SentencePiece's types are gguf's."""
    found = []
    special = {token["content"] for token in document["added_tokens"]}
    for id, (piece, score) in enumerate(document["model"]["vocab"]):
        if id == document["model"]["unk_id"]:
            found.append((piece, score, gguf.TokenType.UNKNOWN))
        elif piece in special:
            found.append((piece, score, gguf.TokenType.CONTROL))
        elif piece.startswith("<0x"):
            found.append((piece, score, gguf.TokenType.BYTE))
        else:
            found.append((piece, score, gguf.TokenType.NORMAL))
    return found + [(f"[PAD{i}]", -10000.0, gguf.TokenType.UNUSED) for i in range(rows - len(found))]


def charsmap(document: dict) -> bytes:
    [found] = [n for n in document["normalizer"]["normalizers"] if n["type"] == "Precompiled"]
    return base64.b64decode(found["precompiled_charsmap"])


def tokenizer_json() -> dict:
    return json.loads((PIPELINE / "tokenizer" / "tokenizer.json").read_text())


def tokenizer(file: gguf.GGUFWriter, rows: int) -> None:
    """The tokenizer under ggml's keys."""
    document = tokenizer_json()
    texts, scores, types = zip(*pieces(document, rows))
    file.add_tokenizer_model("t5")
    file.add_tokenizer_pre("default")
    file.add_token_list(texts)
    file.add_token_scores(scores)
    file.add_token_types(types)
    file.add_add_space_prefix(True)
    file.add_remove_extra_whitespaces(True)
    file.add_precompiled_charsmap(charsmap(document))
    file.add_pad_token_id(0)
    file.add_eos_token_id(1)
    file.add_unk_token_id(document["model"]["unk_id"])
    file.add_add_bos_token(False)
    file.add_add_eos_token(True)


def spiece() -> list[dict]:
    """Writes the same tokenizer as a `spiece.model`; returns what sentencepiece makes of cleaned prompts.

    Transformers differs where a prompt has control pieces or the mark of a space in it: none of these has.
    """
    document, model = tokenizer_json(), ModelProto()
    for text, score, kind in pieces(document, 0):
        model.pieces.add(piece=text, score=score, type=int(kind))
    trainer = model.trainer_spec
    trainer.model_type, trainer.byte_fallback, trainer.vocab_size = trainer.UNIGRAM, True, len(model.pieces)
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = document["model"]["unk_id"], -1, 1, 0
    trainer.unk_piece, trainer.eos_piece, trainer.pad_piece = "<unk>", "</s>", "<pad>"
    model.normalizer_spec.precompiled_charsmap = charsmap(document)
    proto = model.SerializeToString(deterministic=True)
    (GOLDEN / "wan21" / "files" / "spiece.model").write_bytes(proto)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto, add_eos=True)
    texts = dict.fromkeys(prompt_clean(text) for text in TOKENS + CLEAN)
    return [{"text": text, "ids": processor.encode(text)} for text in texts if not {"<", "▁"} & set(text)]


def single_files() -> None:
    layouts = names()
    config = json.loads((PIPELINE / "transformer" / "config.json").read_text())
    tensors = load_file(PIPELINE / "transformer" / "diffusion_pytorch_model.safetensors")
    file = writer("transformer", "wan")
    file.add_key_length(config["attention_head_dim"])
    for theirs, ours in layouts["transformer"].items():
        add(file, theirs, tensors[ours], gguf.GGMLQuantizationType.F16)
    close(file)

    tensors = load_file(PIPELINE / "text_encoder" / "model.safetensors")
    config = json.loads((PIPELINE / "text_encoder" / "config.json").read_text())
    file = writer("text_encoder", "t5encoder")
    file.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    # The shipped table has as many rows as the tokenizer has pieces; three more are for nothing, as in UMT5's.
    table = torch.cat([tensors["shared.weight"], torch.zeros(3, config["d_model"], dtype=torch.bfloat16)])
    tensors["shared.weight"] = table
    tokenizer(file, table.shape[0])
    for theirs, ours in layouts["umt5_ggml"].items():
        add(file, theirs, tensors[ours], gguf.GGMLQuantizationType.BF16)
    close(file)

    tensors = load_file(PIPELINE / "vae" / "diffusion_pytorch_model.safetensors")
    config = json.loads((PIPELINE / "vae" / "config.json").read_text())
    file = writer("vae", "wan")
    stated = {key: config[key] for key in ("_class_name", "latents_mean", "latents_std")}
    file.add_string("config", json.dumps(stated))
    for theirs, ours in layouts["vae21"].items():
        add(file, theirs, tensors[ours], gguf.GGMLQuantizationType.F16)
    close(file)

    layout = {ours: theirs for theirs, ours in layouts["transformer"].items()}
    tensors = load_file(GOLDEN / "head128" / "pipeline" / "transformer" / "diffusion_pytorch_model.safetensors")
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        file = writer(f"transformer-{kind.name.lower()}", "wan", "head128")
        for ours, tensor in tensors.items():
            matrix = ours.startswith("blocks.") and tensor.dim() == 2
            add(file, layout[ours], tensor, kind if matrix else gguf.GGMLQuantizationType.F16)
        close(file)
