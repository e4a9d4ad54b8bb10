//! The text encoder's tokenizer, from the folder's `tokenizer.json`; from a GGUF file see [`super::GgufTokenizer`].

use super::check::{check, check_processor};
use super::model::TokenModel;
use super::prompt_clean;
use crate::error::{Error, Result};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessor, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl, TruncationDirection,
};

/// The `tokenizers` crate's, with our own vocabulary in it.
pub(super) type Inner =
    TokenizerImpl<TokenModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Rows of the embedding table; the special tokens that the file appends included, no padding.
    pub ids: Vec<u32>,
    /// Whether the prompt had more tokens than there was room for.
    pub truncated: bool,
    /// How many of the prompt's last tokens were left out.
    pub dropped: usize,
}

/// The tokenizer of a model folder.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Inner,
    /// Tokens that the post-processor adds to a text: 1 for T5, the end of sequence.
    added: usize,
}

impl TextTokenizer {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "tokenizer/tokenizer.json";

    /// Reads a `tokenizer.json`. Padding and truncation that the file asks for are ignored.
    ///
    /// Fails with `FileInvalid`; `path` is for its message.
    pub fn from_bytes(tokenizer_json: &[u8], path: &str) -> Result<Self> {
        let invalid = |reason: String| Error::FileInvalid { path: path.to_owned(), reason };
        check(tokenizer_json).map_err(invalid)?;
        let mut tokenizer = Inner::from_bytes(tokenizer_json).map_err(|e| invalid(e.to_string()))?;
        tokenizer.get_post_processor().map_or(Ok(()), check_processor).map_err(invalid)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| invalid(e.to_string()))?;
        Ok(Self::new(tokenizer))
    }

    pub(super) fn new(tokenizer: Inner) -> Self {
        let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        Self { tokenizer, added }
    }

    /// The `tokenizer.json` of it.
    ///
    /// Fails with `WrongState` where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let failed = |e: tokenizers::Error| Error::WrongState { call: "pack", reason: e.to_string() };
        self.tokenizer.to_string(false).map_err(failed)
    }

    /// Ids are below this: the embedding table needs as many rows.
    pub fn vocab_size(&self) -> usize {
        let added = self.tokenizer.get_added_vocabulary().get_vocab().values().max();
        self.tokenizer.get_model().rows().max(added.map_or(0, |&id| id as usize + 1))
    }

    /// The ids of the cleaned prompt (see [`prompt_clean`]), at most `max_tokens`. As in transformers with
    /// `truncation=True`, the prompt's end is what gives way; the end-of-sequence token stays last.
    ///
    /// Fails with `OptionInvalid` where `max_tokens` has no room for the special tokens, and with `WrongState` where the
    /// vocabulary has no token for the text.
    pub fn encode(&self, prompt: &str, max_tokens: usize) -> Result<Tokens> {
        self.encode_cleaned(&prompt_clean(prompt), max_tokens)
    }

    pub(super) fn encode_cleaned(&self, text: &str, max_tokens: usize) -> Result<Tokens> {
        let failed = |e: tokenizers::Error| Error::WrongState {
            call: "encode",
            reason: format!("the tokenizer has no tokens for this prompt ({e})"),
        };
        let room = max_tokens.checked_sub(self.added).filter(|_| max_tokens > 0);
        let room = room.ok_or_else(|| Error::OptionInvalid {
            option: "max_tokens".to_owned(),
            expected: format!("at least {}", self.added.max(1)),
            found: max_tokens.to_string(),
        })?;
        let mut encoding = self.tokenizer.encode(text, false).map_err(failed)?;
        let dropped = encoding.len().saturating_sub(room);
        encoding.truncate(room, 0, TruncationDirection::Right);
        let encoding = self.tokenizer.post_process(encoding, None, true).map_err(failed)?;
        Ok(Tokens { ids: encoding.get_ids().to_vec(), truncated: dropped > 0, dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    fn tokenizer(folder: &str) -> TextTokenizer {
        let bytes = std::fs::read(format!("{ROOT}/{folder}/{}", TextTokenizer::PATH)).unwrap();
        TextTokenizer::from_bytes(&bytes, TextTokenizer::PATH).unwrap()
    }

    /// Texts and their ids by transformers, whole and truncated to 8, for tokenizers of every kind; see tests/golden.
    #[test]
    fn equals_transformers() {
        #[derive(serde::Deserialize)]
        struct Golden {
            text: String,
            ids: Vec<u32>,
            ids_at_most_8: Vec<u32>,
        }
        for (case, folder) in [
            ("wan21", "tests/golden/wan21/pipeline"),
            ("wan22", "tests/golden/wan22/pipeline"),
            ("odd", "tests/golden/odd/pipeline"),
            ("head128", "tests/golden/head128/pipeline"),
            ("small", "models/small"),
        ] {
            let tokenizer = tokenizer(folder);
            let golden = std::fs::read(format!("{ROOT}/tests/golden/{case}/tokens.json")).unwrap();
            let golden: Vec<Golden> = serde_json::from_slice(&golden).unwrap();
            assert!(golden.len() > 10);
            for Golden { text, ids, ids_at_most_8 } in golden {
                let all = tokenizer.encode_cleaned(&text, 512).unwrap();
                assert_eq!(
                    all,
                    Tokens { ids: ids.clone(), truncated: false, dropped: 0 },
                    "{case}: {text:?}"
                );
                let dropped = ids.len().saturating_sub(8);
                let some = tokenizer.encode_cleaned(&text, 8).unwrap();
                assert_eq!(
                    some,
                    Tokens { ids: ids_at_most_8, truncated: dropped > 0, dropped },
                    "{case}: {text:?}"
                );
                assert!(all.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            }
        }
    }

    #[test]
    fn prompt_is_cleaned() {
        let tokenizer = tokenizer("models/small");
        let messy = tokenizer.encode("  a &quot;red&quot;\n ball ", 40).unwrap();
        assert_eq!(messy, tokenizer.encode_cleaned("a \"red\" ball", 40).unwrap());
    }

    #[test]
    fn little_room() {
        let tokenizer = tokenizer("models/small");
        let tokens = tokenizer.encode("a red ball", 1).unwrap();
        assert_eq!((tokens.ids.len(), tokens.truncated), (1, true));
        assert_eq!(tokens.ids, tokenizer.encode("", 40).unwrap().ids);
        assert_eq!(tokenizer.encode("a red ball", 0).unwrap_err().code(), "option_invalid");
    }

    #[test]
    fn stored_padding_and_truncation_are_ignored() {
        let path = format!("{ROOT}/models/small/{}", TextTokenizer::PATH);
        let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        file["truncation"] = serde_json::json!(
            {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        file["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
        let stored = TextTokenizer::from_bytes(file.to_string().as_bytes(), TextTokenizer::PATH).unwrap();
        let prompt = "a red ball on green grass";
        assert_eq!(stored.encode(prompt, 40), tokenizer("models/small").encode(prompt, 40));
    }

    /// What is written is read again, by the crate with its own vocabulary too, and encodes the same.
    #[test]
    fn written_and_read() {
        for folder in [
            "tests/golden/wan21/pipeline",
            "tests/golden/wan22/pipeline",
            "tests/golden/odd/pipeline",
            "tests/golden/head128/pipeline",
            "models/small",
        ] {
            let ours = tokenizer(folder);
            let json = ours.to_json().unwrap();
            let again = TextTokenizer::from_bytes(json.as_bytes(), "t").unwrap();
            let reference = tokenizers::Tokenizer::from_bytes(&json).unwrap();
            assert_eq!(json, again.to_json().unwrap());
            assert_eq!(json, reference.to_string(false).unwrap());
            assert_eq!(
                ours.vocab_size(),
                reference.get_vocab(true).into_values().max().unwrap() as usize + 1
            );
            for text in [
                "a red ball, on green grass",
                "",
                "\u{ff21}é漢 \u{fb01}🎈",
                "<pad> a</s>b <unk>",
                "ball\u{0}",
            ] {
                let expected = reference.encode(text, true).unwrap();
                assert_eq!(
                    ours.encode_cleaned(text, 512).unwrap().ids,
                    expected.get_ids(),
                    "{folder}: {text:?}"
                );
                assert_eq!(again.encode(text, 512), ours.encode(text, 512));
            }
        }
    }

    /// Keys in another order, escapes, and a vocabulary that names no type, as old files have it.
    #[test]
    fn other_ways_to_write_it() {
        let expected = tokenizer("tests/golden/wan21/pipeline");
        let file: serde_json::Value = serde_json::from_str(&expected.to_json().unwrap()).unwrap();
        let fields = file.as_object().unwrap();
        let model = fields["model"].as_object().unwrap();
        let object = |fields: &mut dyn Iterator<Item = (&String, String)>| {
            let fields: Vec<_> = fields.map(|(key, value)| format!("{key:?} : {value}")).collect();
            format!("{{ {} }}", fields.join(" , "))
        };
        let model = object(
            &mut model.iter().rev().filter(|(key, _)| *key != "type").map(|(key, v)| (key, v.to_string())),
        );
        let fields = fields.iter().rev().map(|(key, value)| match key.as_str() {
            "model" => (key, model.clone()),
            _ => (key, value.to_string()),
        });
        let json = object(&mut fields.into_iter());
        let escaped: String = json
            .chars()
            .map(|c| match c {
                '\0'..='\x7f' => c.to_string(),
                _ => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            })
            .collect();
        for json in [json, escaped] {
            let found = TextTokenizer::from_bytes(json.as_bytes(), "t").unwrap();
            assert_eq!(found.to_json().unwrap(), expected.to_json().unwrap());
        }
    }

    #[test]
    fn broken_files() {
        let path = format!("{ROOT}/models/small/{}", TextTokenizer::PATH);
        let whole = std::fs::read(path).unwrap();
        for bytes in
            [&b""[..], b"{}", b"\xff\xfe", &whole[..whole.len() / 2], br#"{"model": {"type": "Unigram"}}"#]
        {
            let error = TextTokenizer::from_bytes(bytes, TextTokenizer::PATH).unwrap_err();
            assert_eq!(error.code(), "file_invalid");
        }
        // wan21 has a compiled character map, as UMT5 has.
        let path = format!("{ROOT}/tests/golden/wan21/pipeline/{}", TextTokenizer::PATH);
        let text = std::fs::read_to_string(path).unwrap();
        for (from, to) in [
            ("\"precompiled_charsmap\": \"", "\"precompiled_charsmap\": \"?"),
            ("\"precompiled_charsmap\"", "\"charsmap\""),
            // A trie of gigabytes.
            ("\"precompiled_charsmap\": \"AAQAAAAg", "\"precompiled_charsmap\": \"AAtrueQA"),
            ("\"special_tokens\": {", "\"special_tokens\": {}, \"others\": {"),
        ] {
            assert!(text.contains(from));
            let broken = text.replace(from, to);
            let error = TextTokenizer::from_bytes(broken.as_bytes(), TextTokenizer::PATH).unwrap_err();
            assert_eq!(error.code(), "file_invalid", "{to}");
            // The template is one whatever its type is called.
            let unknown = broken.replace("\"TemplateProcessing\"", "\"Unknown\"");
            assert_eq!(
                TextTokenizer::from_bytes(unknown.as_bytes(), "t").unwrap_err().code(),
                "file_invalid"
            );
        }
    }
}
