"""Four small T5-like tokenizers: <pad> 0, </s> 1, </s> appended. Each differs where real checkpoints may."""

import io
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import decoders
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "a red ball jumps above the green grass while two small birds fly home",
    "the blue boat sails over the calm sea at night and the moon shines",
    "two green dragons slowly dancing in the rain",
    "a naïve robot drinks coffee in a café in Tokyo, five cups!",
    "blurry, gray, low quality, text",
    "an orange fish swims to the right; it's a 3D world of 12 colours.",
]
# What the compiled character map of `unigram_bytes` rewrites: a sample of SentencePiece's own nmt_nfkc rules.
CHARACTER_MAP = {
    "\t": " ", "\n": " ", "\u3000": " ", "\u00a0": " ", "\u200b": "", "ﬁ": "fi", "ﬂ": "fl", "…": "...", "①": "1",
    "e\u0301": "é", "ｱ": "ア", **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},
}


def words() -> list[str]:
    """The words of SENTENCES, in order of appearance, once each."""
    return list(dict.fromkeys(word for sentence in SENTENCES for word in sentence.replace(",", " ").split()))


def compiled_character_map() -> bytes:
    """CHARACTER_MAP as SentencePiece compiles it (`precompiled_charsmap`), taken out of a model trained on a line.

    The model file is a protobuf message: field 3 is the normalizer, whose field 2 is the map.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        for source, target in CHARACTER_MAP.items():
            rules.write("\t".join(" ".join(f"{ord(c):04X}" for c in text) for text in (source, target)) + "\n")
        rules.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f"] * 20), model_writer=model, vocab_size=20, hard_vocab_limit=False,
            normalization_rule_tsv=rules.name, minloglevel=2,
        )
    return protobuf_fields(protobuf_fields(model.getvalue())[3])[2]


def protobuf_fields(message: bytes) -> dict:
    """The last value of every field of a protobuf message, by field number (wire types 0, 2 and 5)."""

    def varint(at):
        value = shift = 0
        while True:
            value |= (message[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 128:
                return value, at

    fields, at = {}, 0
    while at < len(message):
        key, at = varint(at)
        match key & 7:
            case 0:
                fields[key >> 3], at = varint(at)
            case 2:
                size, at = varint(at)
                fields[key >> 3], at = message[at : at + size], at + size
            case 5:
                fields[key >> 3], at = message[at : at + 4], at + 4
            case wire:
                raise ValueError(f"wire type {wire}")
    return fields


def unigram(specials: list[str], letters: str) -> list[tuple[str, float]]:
    """Unigram pieces: specials, whole words, three-letter beginnings and ends of words, single characters."""
    pieces = {special: 0.0 for special in specials}
    pieces["▁"] = -4.0
    for i, word in enumerate(words()):
        if i % 4:  # every fourth word has to be put together from smaller pieces
            pieces.setdefault("▁" + word.lower(), -5.0 - 0.01 * i)
        pieces.setdefault("▁" + word.lower()[:3], -6.5 - 0.01 * i)
        pieces.setdefault(word.lower()[-3:], -7.0 - 0.01 * i)
    for i, letter in enumerate(letters):
        pieces.setdefault(letter, -9.0 - 0.01 * i)
    return list(pieces.items())


ASCII = "".join(map(chr, range(33, 127)))


def unigram_bytes() -> Tokenizer:
    """As google/umt5-xxl: a compiled character map, Metaspace, Unigram with byte fall-back. unk is 2."""
    pieces = unigram(["<pad>", "</s>", "<unk>"], ASCII + "éïア")
    pieces += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(compiled_character_map()), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def unigram_nfkc() -> Tokenizer:
    """NFKC and lower case, split at white space before Metaspace, Unigram without bytes: the unknown is 3."""
    pieces = unigram(["<pad>", "</s>", "<s>", "<unk>"], "".join(c for c in ASCII if not c.isupper()) + "—“”é")
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def bpe() -> Tokenizer:
    """Byte-level BPE trained on SENTENCES. Every byte is a piece, so nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=380, special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    return tokenizer


def wordlevel() -> Tokenizer:
    """Words and punctuation, accents stripped; what is not listed is <unk> (2)."""
    listed = dict.fromkeys(["<pad>", "</s>", "<unk>", *(w.strip("!;.").lower() for w in words()), *",.;!"])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    return tokenizer


KINDS = {kind.__name__: kind for kind in (unigram_bytes, unigram_nfkc, bpe, wordlevel)}


def tiny_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """One of KINDS with its special tokens and </s> appended to every text."""
    tokenizer = KINDS[kind]()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<pad>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="right"
    )
