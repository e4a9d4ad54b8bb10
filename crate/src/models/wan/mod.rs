//! Wan: the diffusion transformer and the causal video VAE.

pub mod transformer;
pub mod vae;

pub use transformer::{PromptContext, WanTransformer};
pub use vae::{VaeDecoder, VaeEncoder};
