//! Noise read from, and results written to, safetensors files.

use std::fs;
use std::path::{Path, PathBuf};

use kinetoscope::pipeline::Clip;
use kinetoscope::{Error, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};

/// The tensor `noise` [1,C,T,H,W], f32, of a safetensors file.
///
/// # Errors
/// [`Error::ReadFailed`], [`Error::FileInvalid`], or [`Error::OptionInvalid`] for another shape than `latents` [C,T,H,W].
pub fn read_noise(path: &Path, latents: [usize; 4]) -> Result<Vec<f32>> {
    let name = path.display().to_string();
    let bytes = fs::read(path)
        .map_err(|error| Error::ReadFailed { path: name.clone(), reason: error.to_string() })?;
    let invalid = |reason: String| Error::FileInvalid { path: name.clone(), reason };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| invalid(error.to_string()))?;
    let noise = file.tensor("noise").map_err(|error| invalid(error.to_string()))?;
    if noise.dtype() != Dtype::F32 {
        return Err(invalid(format!("noise is {:?}, expected F32", noise.dtype())));
    }
    let expected: Vec<usize> = std::iter::once(1).chain(latents).collect();
    if noise.shape() != expected {
        return Err(Error::OptionInvalid {
            option: "noise".into(),
            expected: format!("{expected:?}"),
            found: format!("{:?}", noise.shape()),
        });
    }
    Ok(bytemuck::pod_collect_to_vec(noise.data()))
}

/// Everything that a run computes, for comparison with another implementation.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    clip: Clip,
    noise: Vec<f32>,
    prompt_embeds: Vec<f32>,
    /// Latents after each step, one after the other.
    pub steps: Vec<f32>,
    /// Frames in 0..1, one after the other.
    pub frames: Vec<f32>,
}

impl Dump {
    /// Begins with what is known before the first step.
    pub fn new(path: &Path, clip: &Clip, noise: Vec<f32>, prompt_embeds: Vec<f32>) -> Self {
        Self {
            path: path.into(),
            clip: clip.clone(),
            noise,
            prompt_embeds,
            steps: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Writes `noise` [1,C,T,H,W], `prompt_embeds` [tokens,dim], `steps` [steps,C,T,H,W] and `frames` [F,H,W,3].
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn write(self) -> Result<()> {
        let Self { path, clip, noise, prompt_embeds, steps, frames } = self;
        let failed = |error: safetensors::SafeTensorError| Error::WriteFailed {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let leading = |first: usize| std::iter::once(first).chain(clip.latents).collect::<Vec<_>>();
        let dim = prompt_embeds.len() / clip.max_tokens.max(1);
        let tensors = [
            ("noise", leading(1), &noise),
            ("prompt_embeds", vec![clip.max_tokens, dim], &prompt_embeds),
            ("steps", leading(clip.schedule.steps.len()), &steps),
            ("frames", vec![clip.frames, clip.height, clip.width, 3], &frames),
        ];
        let views = tensors
            .into_iter()
            .map(|(name, shape, values)| {
                Ok((name, TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values))?))
            })
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(failed)?;
        serialize_to_file(views, None, &path).map_err(failed)
    }
}
