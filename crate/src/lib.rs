//! Kinetoscope: video from text, on the visitor's own GPU.
//!
//! | module | what it is |
//! |---|---|
//! | [`tensor`] | virtual tensors: shape, format, identity |
//! | [`recording`] | the plain list of operations of a forward |
//! | [`ops`] | the operations: what they mean, and how they are recorded |
//! | [`gpu`] | the GPU executor: lowering, planning, running with WebGPU |
//! | [`executor`] | the one interface over both executors |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod cancel;
pub mod config;
pub mod cpu;
pub mod error;
pub mod executor;
pub mod gpu;
pub mod models;
pub mod ops;
pub mod pipeline;
pub mod recording;
pub mod sampling;
pub mod tensor;
pub mod text;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod weights;

pub use cancel::CancelFlag;
pub use error::{Error, Result};
