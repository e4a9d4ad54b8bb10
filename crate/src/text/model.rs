//! The vocabulary of a tokenizer: our own where it is a unigram model, else one of the `tokenizers` crate's.

use super::unigram::Unigram;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::{Model, Token};

/// What cuts a word into tokens.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum TokenModel {
    /// T5's and UMT5's.
    Unigram(Unigram),
    /// Byte pairs, word pieces or words.
    Other(Box<ModelWrapper>),
}

impl TokenModel {
    /// Its ids are below this.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Unigram(model) => model.get_vocab_size(),
            Self::Other(model) => model.get_vocab().into_values().max().map_or(0, |id| id as usize + 1),
        }
    }
}

/// The `model` of a `tokenizer.json`. The crate's own reader would make a tree of the vocabulary, several times over.
impl<'de> Deserialize<'de> for TokenModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            name: Option<Cow<'a, str>>,
            #[serde(borrow)]
            vocab: &'a RawValue,
        }
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let kind: Kind = serde_json::from_str(text).map_err(Error::custom)?;
        // Old files do not name it: only a unigram model's pieces are a list.
        let list = kind.vocab.get().starts_with('[');
        match kind.name.as_deref() {
            None | Some("Unigram") if list => serde_json::from_str(text).map(Self::Unigram),
            None | Some("BPE" | "WordPiece" | "WordLevel") if !list => {
                serde_json::from_str(text).map(Self::Other)
            }
            name => {
                let name = name.unwrap_or("no kind");
                return Err(Error::custom(format_args!("its vocabulary is none of a model of {name}")));
            }
        }
        .map_err(Error::custom)
    }
}

impl Model for TokenModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Unigram(model) => model.tokenize(text),
            Self::Other(model) => model.tokenize(text),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Unigram(model) => model.token_to_id(token),
            Self::Other(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Unigram(model) => model.id_to_token(id),
            Self::Other(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Unigram(model) => model.get_vocab(),
            Self::Other(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Unigram(model) => model.get_vocab_size(),
            Self::Other(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, folder: &Path, name: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            Self::Unigram(model) => model.save(folder, name),
            Self::Other(model) => model.save(folder, name),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Unigram(model) => model.get_trainer().into(),
            Self::Other(model) => model.get_trainer(),
        }
    }
}
