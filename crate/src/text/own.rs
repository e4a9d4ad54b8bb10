//! The tokenizer in a text encoder's own file.

use super::TextTokenizer;
use super::gguf::GgufTokenizer;
use super::spiece::SpieceTokenizer;
use crate::error::Result;
use crate::weights::{Component, Source};

/// A tokenizer in a file of weights, of which only the places are known yet.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnTokenizer {
    /// In the metadata of a GGUF file.
    Gguf(GgufTokenizer),
    /// A tensor of a safetensors file.
    Spiece(SpieceTokenizer),
}

impl OwnTokenizer {
    /// The tokenizer of a text encoder's file, if it has one.
    pub fn of(component: &Component) -> Option<Self> {
        let gguf = GgufTokenizer::of(component).map(Self::Gguf);
        gguf.or_else(|| SpieceTokenizer::of(component).map(Self::Spiece))
    }

    /// Reads it.
    ///
    /// Fails as [`GgufTokenizer::read`] and [`SpieceTokenizer::read`] do.
    pub async fn read(&self, source: &dyn Source) -> Result<TextTokenizer> {
        match self {
            Self::Gguf(own) => own.read(source).await,
            Self::Spiece(own) => own.read(source).await,
        }
    }
}
