"""The tokenizer: one piece for every word of the grammar, printable ASCII characters for all else.

A Unigram tokenizer as T5's, lower-casing, made rather than trained: training splits words badly on so small a grammar.

    python tokenizer.py --out FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import world

PAD, EOS, UNK = 0, 1, 2
SPACE = "▁"


def pieces() -> list[tuple[str, float]]:
    """The vocabulary with log probabilities; its size is a multiple of 32."""
    found = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), (SPACE, -8.0)]
    found += [(SPACE + word, -4.0) for word in world.vocabulary()]
    found += [(character, -10.0) for character in map(chr, range(33, 127)) if not character.isupper()]
    return found + [(f"<extra_id_{i}>", -99.0) for i in range(-len(found) % 32)]


def make() -> PreTrainedTokenizerFast:
    """The tokenizer; it appends </s>."""
    tokenizer = Tokenizer(models.Unigram(pieces(), unk_id=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="right"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write it to this folder")
    parser.add_argument("--smoke", action="store_true", help="check that captions come back, and how long they are")
    args = parser.parse_args()
    tokenizer = make()
    if args.out:
        tokenizer.save_pretrained(args.out)
    if args.smoke:
        lengths = []
        for i in range(5000):
            caption = world.sample(0, i).caption
            ids = tokenizer(caption).input_ids
            assert UNK not in ids and tokenizer.decode(ids, skip_special_tokens=True) == caption.lower(), caption
            lengths.append(len(ids))
        print(f"{len(tokenizer)} pieces; captions have {sum(lengths) / len(lengths):.1f} tokens, at most {max(lengths)}")
        print(tokenizer.convert_ids_to_tokens(tokenizer("A shiny red ball bounces!").input_ids))


if __name__ == "__main__":
    main()
