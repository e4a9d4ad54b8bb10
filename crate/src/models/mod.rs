//! The models: forwards that read like the papers, with fields named as the checkpoints' keys.

pub mod causal;
pub mod layers;
pub mod taehv;
pub mod umt5;
pub mod wan;
