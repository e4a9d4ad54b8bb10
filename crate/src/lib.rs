//! Kinetoscope: video from text, on the visitor's own GPU.
//!
//! ```no_run
//! use std::rc::Rc;
//! use kinetoscope::executor::{DeviceChoice, Executor};
//! use kinetoscope::gpu::GpuOptions;
//! use kinetoscope::pipeline::{GenerateOptions, Model};
//! use kinetoscope::weights::source::FolderSource;
//! use kinetoscope::CancelFlag;
//!
//! # async fn clip() -> kinetoscope::Result<()> {
//! let executor = Rc::new(Executor::open(DeviceChoice::Auto, &GpuOptions::default()).await?);
//! let source = Rc::new(FolderSource::new("models/small"));
//! let cancel = CancelFlag::new();
//! let model = Rc::new(Model::load(source, executor, &cancel, &mut |_| {}).await?);
//! let options = GenerateOptions { prompt: "a red ball bounces on green grass".into(), ..Default::default() };
//! let mut session = model.session(&options, &cancel)?;
//! session.encode().await?;
//! while session.step().await?.is_some() {}
//! while let Some(frames) = session.next_frames().await? {
//!     println!("{} frames of RGBA from {}", frames.count, frames.index);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`pipeline`] | models and sessions: encode, step, next frames; what a clip takes |
//! | [`models`] | UMT5, the Wan transformer, the Wan VAE |
//! | [`sampling`], [`text`], [`weights`], [`config`] | schedules and noise; prompts; checkpoints; config files |
//! | [`executor`] | the one interface over both executors |
//! | [`gpu`], [`cpu`] | the executors: WebGPU, and plain Rust |
//! | [`recording`], [`ops`], [`tensor`], [`quants`] | the list of operations of a forward, the operations, virtual tensors, quantised matrices |
//! | `bench` | with the feature of that name: how fast a device is, by peaks, operations and whole models |
//! | [`error`], [`cancel`] | every way to fail; the flag that stops work |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

#[cfg(feature = "bench")]
pub mod bench;
pub mod cancel;
pub mod config;
pub mod cpu;
pub mod error;
pub mod executor;
pub mod gpu;
pub mod models;
pub mod ops;
pub mod pipeline;
pub mod quants;
pub mod recording;
pub mod sampling;
pub mod tensor;
pub mod text;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod weights;

pub use cancel::CancelFlag;
pub use error::{Error, Result};
