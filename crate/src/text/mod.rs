//! From a prompt to token ids, as diffusers' `WanPipeline` and transformers make them.

mod charsmap;
mod check;
pub mod clean;
mod entities;
pub mod gguf;
mod model;
mod own;
mod sentencepiece;
pub mod spiece;
pub mod tokenizer;
mod unigram;

pub use clean::prompt_clean;
pub use gguf::GgufTokenizer;
pub use own::OwnTokenizer;
pub use spiece::SpieceTokenizer;
pub use tokenizer::{TextTokenizer, Tokens};
