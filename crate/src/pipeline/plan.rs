//! What a clip takes on a device, known before a weight is read.

use std::collections::HashSet;

use super::architecture::Architecture;
use super::options::Clip;
use super::stages::{self, DecoderState, EncoderState, SamplerState};
use crate::Result;
use crate::gpu::{Limits, Plan};
use crate::recording::Recording;
use crate::tensor::{DType, Tensor};

/// What one stage takes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StagePlan {
    /// `encode` where the clip is made from pictures or another clip; `text`, `step`, `decode`.
    pub stage: &'static str,
    /// Bytes of the intermediate results.
    pub temporary_bytes: u64,
    /// Bytes of everything that exists while the stage runs: weights, the clip's state, intermediate results.
    pub total_bytes: u64,
    /// Largest storage binding; 0 on the CPU, as the largest buffer.
    pub largest_binding: u64,
    /// Largest buffer.
    pub largest_buffer: u64,
    /// Multiply-add operations times two, of one run.
    pub flops: u64,
}

/// What a clip takes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClipPlan {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames, of all windows together.
    pub frames: usize,
    /// Windows, one after the other; the rest is what the most demanding of them takes.
    pub windows: usize,
    /// Bytes of all weights on the device.
    pub weight_bytes: u64,
    /// Bytes at the worst moment.
    pub peak_bytes: u64,
    /// Largest storage binding of any stage.
    pub largest_binding: u64,
    /// Stage by stage.
    pub stages: Vec<StagePlan>,
}

impl ClipPlan {
    /// Plans every stage of `clip` for a GPU with `limits`, or for the CPU. `tokens` are the token counts of its prompt and, with guidance, of
    /// its negative prompt; where they are not known, the most they can be (`clip.max_tokens`) is taken.
    ///
    /// # Errors
    /// [`crate::Error::DeviceTooSmall`] when something cannot be split to fit.
    pub fn new(
        architecture: &Architecture,
        clip: &Clip,
        limits: Option<&Limits>,
        tokens: Option<[usize; 2]>,
    ) -> Result<Self> {
        let specs = architecture.weights.specs();
        let weights = specs.iter().map(|s| &s.tensor).chain(&architecture.latent_statistics);
        let weight_bytes = match limits {
            Some(_) => device_bytes(weights),
            None => weights.map(crate::cpu::weight_bytes).sum(),
        };
        let sampler = SamplerState::new(architecture, clip)?;
        let decoder = DecoderState::new(architecture, clip);
        let [tokens, negative_tokens] = tokens.unwrap_or([clip.max_tokens; 2]);
        let context = |tokens| architecture.transformer.prompt_context(tokens, clip.max_tokens);
        let prompt = context(tokens);
        let negative = clip.guided().then(|| context(negative_tokens));
        let width = architecture.configs.text_encoder.d_model;
        let embeddings = Tensor::resident(DType::F32, &[tokens, width]);
        let text = stages::text(architecture, &embeddings, &prompt)?;
        let step = stages::step(architecture, &sampler, &prompt, negative.as_ref())?;
        // A later latent frame takes more than the first, with all that it remembers of the frames before it.
        let [_, latent_frames, _, _] = clip.latents;
        let decode = stages::decode(architecture, &sampler.latents, &decoder, latent_frames == 1)?;

        let context_bytes: u64 = std::iter::once(&prompt)
            .chain(&negative)
            .map(|c| device_bytes([&c.rows]) + device_bytes(c.keys_values.iter().flat_map(|(k, v)| [k, v])))
            .sum();
        let state_bytes = device_bytes(&sampler.tensors());
        // A clip of one frame never reads the older half of the decoder's memory, so that it is not allocated.
        let used: HashSet<u64> = decode.tensors().map(Tensor::id).collect();
        let decoder_bytes = device_bytes(decoder.tensors().iter().filter(|t| used.contains(&t.id())));
        // Frames are read back one at a time, through a buffer that JavaScript can map.
        let readback = device_bytes(decoder.rgba.first());
        let mut stages = Vec::new();
        if let Some(frames) = clip.encoded_frames() {
            let state = EncoderState::new(architecture, [frames, clip.height, clip.width]);
            let encode = stages::encode(architecture, &state, frames == 1)?;
            let used: HashSet<u64> = encode.tensors().map(Tensor::id).collect();
            let state_bytes = device_bytes(state.tensors().iter().filter(|t| used.contains(&t.id())));
            let readback = device_bytes([&state.out]);
            stages.push(stage("encode", &encode, limits, weight_bytes + state_bytes + readback)?);
        }
        stages.extend([
            stage("text", &text, limits, weight_bytes + context_bytes + device_bytes([&embeddings]))?,
            stage("step", &step, limits, weight_bytes + context_bytes + state_bytes)?,
            stage("decode", &decode, limits, weight_bytes + state_bytes + decoder_bytes + readback)?,
        ]);
        Ok(Self {
            width: clip.width,
            height: clip.height,
            frames: clip.frames,
            windows: 1,
            weight_bytes,
            peak_bytes: stages.iter().map(|s| s.total_bytes).fold(0, u64::max),
            largest_binding: stages.iter().map(|s| s.largest_binding).fold(0, u64::max),
            stages,
        })
    }
}

fn stage(
    name: &'static str,
    recording: &Recording,
    limits: Option<&Limits>,
    resident: u64,
) -> Result<StagePlan> {
    let flops = recording.flops();
    let Some(limits) = limits else {
        let temporary_bytes = recording.live_bytes();
        let total_bytes = resident + temporary_bytes;
        return Ok(StagePlan {
            stage: name,
            temporary_bytes,
            total_bytes,
            largest_binding: 0,
            largest_buffer: 0,
            flops,
        });
    };
    let plan = Plan::new(recording, limits)?;
    Ok(StagePlan {
        stage: name,
        temporary_bytes: plan.temporary_bytes,
        total_bytes: resident + plan.temporary_bytes + plan.uniform_bytes,
        largest_binding: plan.largest_binding,
        largest_buffer: plan.largest_buffer,
        flops,
    })
}

fn device_bytes<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> u64 {
    tensors.into_iter().map(crate::gpu::dispatch::buffer_bytes).sum()
}
