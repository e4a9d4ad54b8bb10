//! What can be done while weights are on their way: compiling the kernels of the model's own clip.

use super::architecture::Architecture;
use super::options::{Clip, GenerateOptions};
use super::stages::{self, DecoderState, SamplerState};
use crate::executor::Executor;
use crate::recording::Recording;
use crate::tensor::{DType, Tensor};
use crate::{CancelFlag, Error, Result};

/// Compiles what the stages of the model's own clip need, of a prompt as long as it may be. Browsers compile beside the caller, who goes on
/// at once. Other clips mostly need the same, and compile the rest themselves.
///
/// # Errors
/// [`Error::Cancelled`], and the device's own. That the device is too small for this clip is said where somebody asks for it.
pub(super) fn compile(architecture: &Architecture, executor: &Executor, cancel: &CancelFlag) -> Result<()> {
    let Executor::Gpu(gpu) = executor else { return Ok(()) };
    for recording in recordings(architecture)? {
        match gpu.compile_ahead(&recording, cancel) {
            Ok(()) | Err(Error::DeviceTooSmall { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All stages, in order.
fn recordings(architecture: &Architecture) -> Result<Vec<Recording>> {
    let clip = Clip::new(&GenerateOptions::default(), &architecture.configs)?;
    let sampler = SamplerState::new(architecture, &clip)?;
    let decoder = DecoderState::new(architecture, &clip);
    let prompt = architecture.transformer.prompt_context(clip.max_tokens, clip.max_tokens);
    let width = architecture.configs.text_encoder.d_model;
    let embeddings = Tensor::resident(DType::F32, &[clip.max_tokens, width]);
    let [_, latent_frames, _, _] = clip.latents;
    let mut all = vec![
        stages::text(architecture, &embeddings, &prompt)?,
        stages::context(architecture, &prompt)?,
        stages::step(architecture, &sampler, &prompt, clip.guided().then_some(&prompt))?,
        stages::decode(architecture, &sampler.latents, &decoder, true)?,
    ];
    if latent_frames > 1 {
        all.push(stages::decode(architecture, &sampler.latents, &decoder, false)?);
    }
    Ok(all)
}
