//! From a prompt to token ids, as diffusers' `WanPipeline` and transformers make them.

mod charsmap;
mod check;
pub mod clean;
mod entities;
pub mod gguf;
mod model;
mod sentencepiece;
pub mod tokenizer;
mod unigram;

pub use clean::prompt_clean;
pub use gguf::GgufTokenizer;
pub use tokenizer::{TextTokenizer, Tokens};
