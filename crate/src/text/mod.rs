//! From a prompt to token ids, as diffusers' `WanPipeline` and transformers make them.

mod charsmap;
pub mod clean;
mod entities;
pub mod gguf;
pub mod tokenizer;

pub use clean::prompt_clean;
pub use gguf::GgufTokenizer;
pub use tokenizer::{TextTokenizer, Tokens};
