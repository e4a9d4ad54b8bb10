//! What can be done while weights are on their way: compiling the kernels of the model's own clip.

use super::architecture::Architecture;
use super::options::{Clip, GenerateOptions};
use super::stages::Stages;
use crate::executor::Executor;
use crate::recording::Recording;
use crate::{CancelFlag, Error, Result};

/// Compiles what the stages of the model's own clip need, of a prompt as long as it may be. Browsers compile beside the caller, who goes on
/// at once. Other clips mostly need the same, and compile the rest themselves.
///
/// # Errors
/// [`Error::Cancelled`], and the device's own. That the device is too small for this clip is said where somebody asks for it.
pub(super) fn compile(architecture: &Architecture, executor: &Executor, cancel: &CancelFlag) -> Result<()> {
    let Executor::Gpu(gpu) = executor else { return Ok(()) };
    for recording in recordings(architecture, executor.capacity())? {
        match gpu.compile_ahead(&recording, cancel) {
            Ok(()) | Err(Error::DeviceTooSmall { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All stages, in order.
fn recordings(architecture: &Architecture, memory: Option<u64>) -> Result<Vec<Recording>> {
    let clip = Clip::new(&GenerateOptions::default(), &architecture.configs)?;
    let stages = Stages::new(architecture, &clip, [clip.max_tokens; 2], memory)?;
    let [_, latent_frames, _, _] = clip.latents;
    let first = stages.decode(architecture, true)?;
    let later = (latent_frames > 1).then(|| stages.decode(architecture, false)).transpose()?;
    Ok([stages.text, stages.context, stages.step, first].into_iter().chain(later).collect())
}
