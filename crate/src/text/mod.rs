//! From a prompt to token ids, as diffusers' `WanPipeline` and transformers make them.

pub mod clean;
mod entities;
pub mod tokenizer;

pub use clean::prompt_clean;
pub use tokenizer::{TextTokenizer, Tokens};
