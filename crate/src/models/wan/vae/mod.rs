//! The Wan VAE (diffusers, `models/autoencoders/autoencoder_kl_wan.py`, AutoencoderKLWan), both flavours.
//!
//! A clip goes through frame by frame. Every convolution over time keeps the two frames before the current one, so the
//! memory does not grow with the length of the clip, and the frames come out as they are made.

mod blocks;
mod causal;
mod decoder;
mod encoder;

pub use decoder::VaeDecoder;
pub use encoder::VaeEncoder;
