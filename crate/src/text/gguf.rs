//! The tokenizer that a GGUF file of a T5 encoder carries in its metadata: a SentencePiece unigram model, under ggml's keys.
//!
//! Llama.cpp's converter writes it from a `spiece.model` (`convert_hf_to_gguf.py`, `T5Model.set_vocab`), ComfyUI-GGUF's files keep it. What is
//! made of it here is what transformers makes of the same `spiece.model`.

use super::TextTokenizer;
use super::charsmap::checked_charsmap;
use super::sentencepiece::{SentencePiece, Settings};
use super::unigram::MAX_PIECES;
use crate::error::{Error, Result};
use crate::weights::{Component, MetaArray, Metadata, Source, gguf};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

/// Most bytes of the pieces' texts together, several times UMT5's.
const MAX_TEXT: u64 = 16 << 20;

/// A tokenizer in a GGUF file, of which only the places are known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTokenizer {
    path: String,
    metadata: Metadata,
}

impl GgufTokenizer {
    /// The tokenizer of a text encoder's file, if it has one.
    pub fn of(component: &Component) -> Option<Self> {
        let metadata = component.metadata();
        metadata.array(TOKENS)?;
        Some(Self { path: component.file().to_owned(), metadata: metadata.clone() })
    }

    /// Reads it.
    ///
    /// Fails with `ArchitectureUnknown` (no unigram model), `FileInvalid` (lists of different lengths or of other values, ids that no piece
    /// has, a damaged character map), and as [`Source::read`] does.
    pub async fn read(&self, source: &dyn Source) -> Result<TextTokenizer> {
        let model = self.metadata.text(MODEL).unwrap_or("no kind");
        if model != "t5" {
            return Err(Error::ArchitectureUnknown {
                path: self.path.clone(),
                found: format!("a tokenizer of the kind {model}"),
                supported: "t5, or a tokenizer.json beside the file".to_owned(),
            });
        }
        let list = self.list(TOKENS, &[gguf::STRING])?;
        // Each text has its length before it.
        let text = list.range.end.saturating_sub(list.range.start).saturating_sub(8 * list.count);
        if text > MAX_TEXT {
            return Err(self.invalid(format!("the pieces of its tokenizer have {text} bytes")));
        }
        let tokens = self.bytes(source, list).await?;
        let tokens = gguf::strings(&self.path, &tokens, list.count);
        let scores = self.list(SCORES, &[gguf::FLOAT32])?;
        let scores = self.bytes(source, scores).await?;
        let scores = scores.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let types = self.list(TYPES, &[gguf::INT32, gguf::UINT32])?;
        let types = self.bytes(source, types).await?;
        let types = types.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
        if scores.len() as u64 != list.count || types.len() as u64 != list.count {
            let [tokens, scores, types] = [list.count, scores.len() as u64, types.len() as u64];
            return Err(
                self.invalid(format!("its tokenizer has {tokens} pieces, {scores} scores, {types} types"))
            );
        }
        let mut model = SentencePiece::default();
        for ((text, score), kind) in tokens.zip(scores).zip(types) {
            model.push(text?, score, kind).map_err(|reason| self.invalid(reason))?;
        }
        let charsmap = match self.metadata.array(CHARSMAP) {
            Some(_) => {
                let list = self.list(CHARSMAP, &[gguf::UINT8, gguf::INT8])?;
                let bytes = self.bytes(source, list).await?;
                Some(checked_charsmap(&bytes).map_err(|reason| self.invalid(reason))?)
            }
            None => None,
        };
        let is = |name: &str| self.metadata.bool(&format!("tokenizer.ggml.{name}")).unwrap_or(true);
        let settings = Settings {
            unknown: self.metadata.size("tokenizer.ggml.unknown_token_id"),
            end: self.metadata.size("tokenizer.ggml.eos_token_id").unwrap_or(1),
            add_end: is("add_eos_token"),
            charsmap,
            remove_extra_whitespaces: is("remove_extra_whitespaces"),
            add_space_prefix: is("add_space_prefix"),
        };
        model.build(settings).map_err(|reason| self.invalid(reason))
    }

    fn list(&self, key: &str, kinds: &[u32]) -> Result<&MetaArray> {
        match self.metadata.array(key) {
            // A character map is a list of bytes, and no longer than a header.
            Some(list)
                if kinds.contains(&list.kind) && (list.count <= MAX_PIECES as u64 || key == CHARSMAP) =>
            {
                Ok(list)
            }
            Some(list) => {
                let reason = format!("{key} has {} values of the type {}", list.count, list.kind);
                Err(self.invalid(reason))
            }
            None => Err(self.invalid(format!("its tokenizer has no {key}"))),
        }
    }

    async fn bytes(&self, source: &dyn Source, list: &MetaArray) -> Result<Vec<u8>> {
        source.read(&self.path, list.range.clone()).await
    }

    fn invalid(&self, reason: String) -> Error {
        Error::FileInvalid { path: self.path.clone(), reason }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::text::sentencepiece::piece;
    use crate::weights::source::FolderSource;
    use crate::weights::source::testing::Memory;
    use crate::weights::{Container, MetaValue};
    use pollster::block_on;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
    const FILE: &str = "files/text_encoder.gguf";

    fn folder() -> FolderSource {
        FolderSource::new(format!("{GOLDEN}/wan21"))
    }

    fn of_file() -> TextTokenizer {
        let component = block_on(Component::open_file(&folder(), FILE)).unwrap();
        block_on(GgufTokenizer::of(&component).unwrap().read(&folder())).unwrap()
    }

    fn of_json() -> TextTokenizer {
        let path = format!("{GOLDEN}/wan21/pipeline/{}", TextTokenizer::PATH);
        TextTokenizer::from_bytes(&std::fs::read(path).unwrap(), TextTokenizer::PATH).unwrap()
    }

    /// A vocabulary of `<pad>`, `</s>`, `<unk>` and these pieces, as a file's metadata and the bytes of its lists.
    fn tokenizer(pieces: &[(&str, f32, i32)], more: &[(&str, MetaValue)]) -> (GgufTokenizer, Memory) {
        let all =
            [("<pad>", 0., 3), ("</s>", 0., 3), ("<unk>", 0., 2)].into_iter().chain(pieces.iter().copied());
        let all: Vec<_> = all.collect();
        let mut bytes = Vec::new();
        let mut metadata = BTreeMap::from([(MODEL.to_owned(), MetaValue::Text("t5".to_owned()))]);
        let mut list = |key: &str, kind, values: Vec<u8>| {
            let range = bytes.len() as u64..(bytes.len() + values.len()) as u64;
            bytes.extend(values);
            let array = MetaArray { kind, count: all.len() as u64, range };
            metadata.insert(key.to_owned(), MetaValue::Array(array));
        };
        let text =
            |(text, _, _): &(&str, f32, i32)| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        list(TOKENS, gguf::STRING, all.iter().flat_map(text).collect());
        list(SCORES, gguf::FLOAT32, all.iter().flat_map(|piece| piece.1.to_le_bytes()).collect());
        list(TYPES, gguf::INT32, all.iter().flat_map(|piece| piece.2.to_le_bytes()).collect());
        metadata.extend(more.iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value.clone())));
        let source = Memory::with(&[("f", bytes)]);
        (GgufTokenizer { path: "f".to_owned(), metadata: Metadata(metadata) }, source)
    }

    fn ids(found: &(GgufTokenizer, Memory), prompt: &str) -> Vec<u32> {
        block_on(found.0.read(&found.1)).unwrap().encode(prompt, 64).unwrap().ids
    }

    /// The file was written from the folder's tokenizer: every prompt of the golden file, and odder ones, have the same ids.
    #[test]
    fn equals_the_tokenizer_json_that_it_was_made_of() {
        #[derive(serde::Deserialize)]
        struct Golden {
            text: String,
        }
        let (file, json) = (of_file(), of_json());
        let golden = std::fs::read(format!("{GOLDEN}/wan21/tokens.json")).unwrap();
        let golden: Vec<Golden> = serde_json::from_slice(&golden).unwrap();
        let odd = [
            "",
            " ",
            "▁",
            "a▁red ball",
            "<unk>",
            "<pad>ball",
            "a</s>b",
            "<0x41>",
            "[PAD0][PAD1]",
            "[PAD2]",
            "\u{0}495",
            "\0",
            "\u{feff}ball",
            "ﬁﬂ…①ｱ！",
            "e\u{301}",
            "日本語のテキスト",
            "🎈🎈 👩‍👩‍👧",
            "\u{200b}a\u{200b}",
            "ᾳ̂ Ǆ ﷺ",
            "a  \u{3000} b",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "<0xE2><0x98>",
            "\u{10ffff}",
        ];
        let texts = golden.iter().map(|golden| golden.text.as_str()).chain(odd);
        for text in texts {
            assert_eq!(file.encode(text, 512), json.encode(text, 512), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn equals_it_on_any_text(text in "\\PC{0,40}|[a-z ,.!▁é…ﬁ]{0,60}") {
            prop_assert_eq!(of_file().encode(&text, 512), of_json().encode(&text, 512));
        }

        /// Whatever bytes its lists have: an error, or a tokenizer whose ids are in its vocabulary.
        #[test]
        fn damaged_lists(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let (tokenizer, mut source) = tokenizer(&[("▁", -2., 1), ("a", -3., 1), ("▁a", -1., 1)], &[]);
            let bytes = source.files.get_mut("f").unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(found) = block_on(tokenizer.read(&source))
                && let Ok(tokens) = found.encode("a b a", 64)
            {
                prop_assert!(tokens.ids.iter().all(|&id| (id as usize) < found.vocab_size()));
            }
        }
    }

    #[test]
    fn types_of_pieces() {
        let pieces =
            [("▁", -2., 1), ("a", -3., 1), ("▁ab", -1., piece::UNUSED), ("<x>", 0., piece::USER_DEFINED)];
        let found = tokenizer(&pieces, &[]);
        // 3 ▁, 4 a; b has no piece, and one that is unused is none.
        assert_eq!(ids(&found, "ab"), [3, 4, 2, 1]);
        assert_eq!(ids(&found, "a<x>"), [3, 4, 6, 1]);
        let bytes = (0..=255).map(|byte| (format!("<0x{byte:02X}>"), 0., piece::BYTE)).collect::<Vec<_>>();
        let bytes: Vec<_> = bytes.iter().map(|(text, score, kind)| (text.as_str(), *score, *kind)).collect();
        let found = tokenizer(&[&pieces[..], &bytes].concat(), &[]);
        assert_eq!(ids(&found, "ab"), [3, 4, 7 + u32::from(b'b'), 1]);
    }

    #[test]
    fn settings() {
        let pieces = [("▁", -2., 1), ("a", -3., 1), ("▁▁", -1., 1)];
        let set = |key: &'static str, value| tokenizer(&pieces, &[(key, MetaValue::Bool(value))]);
        assert_eq!(ids(&set("add_space_prefix", false), "a"), [4, 1]);
        assert_eq!(ids(&set("add_eos_token", false), "a"), [3, 4]);
        let end = [("eos_token_id", MetaValue::Integer(4)), ("unknown_token_id", MetaValue::Integer(0))];
        assert_eq!(ids(&tokenizer(&pieces, &end), "ab"), [3, 4, 0, 4]);
    }

    #[test]
    fn what_is_no_tokenizer() {
        let code = |pieces: &[(&str, f32, i32)], more: &[(&str, MetaValue)]| {
            let (tokenizer, source) = tokenizer(pieces, more);
            block_on(tokenizer.read(&source)).unwrap_err().code()
        };
        let array = |kind, count, range| MetaValue::Array(MetaArray { kind, count, range });
        assert_eq!(code(&[], &[("model", MetaValue::Text("llama".to_owned()))]), "architecture_unknown");
        for (key, value) in [
            ("scores", array(gguf::FLOAT32, 2, 0..8)),
            ("scores", MetaValue::Integer(1)),
            ("token_type", array(gguf::STRING, 3, 0..8)),
            ("tokens", array(gguf::STRING, u64::MAX, 0..8)),
            ("tokens", array(gguf::STRING, 4, 0..36)),
            ("tokens", array(gguf::STRING, 3, 0..MAX_TEXT + 25)),
            ("precompiled_charsmap", array(gguf::UINT8, 4, 0..4)),
            ("precompiled_charsmap", array(gguf::STRING, 4, 0..4)),
            ("eos_token_id", MetaValue::Integer(3)),
            ("unknown_token_id", MetaValue::Integer(9)),
        ] {
            assert_eq!(code(&[], &[(key, value.clone())]), "file_invalid", "{key} {value:?}");
        }
        assert_eq!(code(&[("a", f32::NAN, 1)], &[]), "file_invalid");
        let plain =
            Component::new("c", "f".to_owned(), Container::Gguf(3), BTreeMap::new(), Metadata::default());
        assert_eq!(GgufTokenizer::of(&plain), None);
    }
}
