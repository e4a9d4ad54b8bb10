//! From a prompt to frames: the models put together.
//!
//! The caller drives: [`Session::encode`] once, [`Session::step`] until it gives `None`, [`Session::next_frames`] until it gives
//! `None`. Not calling is pausing, dropping the session is cancelling. A [`Film`] is driven the same way, window by window.

mod advice;
mod ahead;
mod architecture;
mod autoencoder;
mod encode_video;
mod film;
mod given;
mod inspect;
mod model;
mod options;
mod pieces;
mod plan;
mod preview;
mod prompt;
mod residency;
mod session;
mod stages;
mod substitutes;

pub use advice::{Advice, Alternative, Change, Obstacle, Verdict};
pub use architecture::{Architecture, Configs};
pub use film::{Film, TimedPrompt, Window, windows};
pub use given::{Edit, Footage, Given, Mask, Timeline};
pub use inspect::{FormatShare, Inspection, Refusal};
pub use model::{Model, ModelInfo};
pub use options::{Clip, GenerateOptions, LONGEST_SECONDS};
pub use pieces::FILES;
pub use plan::{ClipPlan, StagePlan};
pub use preview::Preview;
pub use session::{FramesEvent, Session, StepEvent, TextEvent};
#[cfg(any(feature = "bench", test))]
pub(crate) use stages::{DecoderState, SamplerState, decode};
