"""The text encoder: a small UMT5, and prompts as it takes them.

The length that prompts are padded to is part of the model: cross-attention has no mask and sees the zero rows of the padding.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

import tokenizer

MAX_SEQUENCE_LENGTH = 40
WIDTH = 128


def make() -> UMT5EncoderModel:
    """An encoder of two layers with random weights."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer.pieces()),
            d_model=WIDTH,
            d_kv=32,
            d_ff=320,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            relative_attention_num_buckets=32,
            relative_attention_max_distance=64,
            pad_token_id=tokenizer.PAD,
            eos_token_id=tokenizer.EOS,
        )
    )


@lru_cache(1)
def tokens() -> PreTrainedTokenizerFast:
    return tokenizer.make()


def tokenize(prompts: list[str], on: torch.device | str) -> tuple[Tensor, Tensor]:
    """Ids and mask [n, MAX_SEQUENCE_LENGTH] of prompts."""
    found = tokens()(prompts, padding="max_length", max_length=MAX_SEQUENCE_LENGTH, truncation=True, return_tensors="pt")
    return found.input_ids.to(on), found.attention_mask.to(on)


def encode(encoder: UMT5EncoderModel, ids: Tensor, mask: Tensor) -> Tensor:
    """[n, MAX_SEQUENCE_LENGTH, WIDTH], zero after each prompt's end, as diffusers' WanPipeline has it."""
    longest = int(mask.sum(1).max())
    ids, mask = ids[:, :longest], mask[:, :longest]
    found = encoder(ids, mask).last_hidden_state * mask[..., None]
    return nn.functional.pad(found, (0, 0, 0, MAX_SEQUENCE_LENGTH - longest))


def save(folder: Path) -> None:
    tokens().save_pretrained(folder)
