//! What a clip takes on a device, known before a weight is read.

use std::collections::{HashMap, HashSet};

use super::architecture::Architecture;
use super::film::windows;
use super::given::Footage;
use super::options::{Clip, GenerateOptions};
use super::residency::{Room, device_bytes};
use super::stages::{self, EncoderState, Stages};
use crate::gpu::{Limits, Plan, buffer_bytes};
use crate::recording::Recording;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// What one stage takes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StagePlan {
    /// `encode` where the clip is made from pictures or another clip; `text`, `context`, `step`, `decode`.
    pub stage: &'static str,
    /// `together` where all of the model's weights are on the device, `turn` where only those of this stage are, `parts` where those come
    /// and go while it runs.
    pub weights: &'static str,
    /// Bytes of weights on the device.
    pub weight_bytes: u64,
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
    /// its negative prompt; where they are not known, the most they can be (`clip.max_tokens`) is taken. `memory` are the bytes that may be
    /// taken in all; without it all weights stay on the device.
    ///
    /// # Errors
    /// [`crate::Error::DeviceTooSmall`] when something cannot be split to fit.
    pub fn new(
        architecture: &Architecture,
        clip: &Clip,
        limits: Option<&Limits>,
        tokens: Option<[usize; 2]>,
        memory: Option<u64>,
    ) -> Result<Self> {
        let specs = architecture.weights.specs();
        let bytes_of = |tensor: &Tensor| match limits {
            Some(_) => buffer_bytes(tensor),
            None => crate::cpu::resident_bytes(tensor),
        };
        let weights: HashMap<u64, u64> = specs.iter().map(|s| (s.tensor.id(), bytes_of(&s.tensor))).collect();
        let statistics: u64 = architecture.latent_statistics.iter().map(bytes_of).sum();
        let device = Device { limits, memory, all: weights.values().sum(), weights, statistics };
        let recorded = Stages::new(architecture, clip, tokens.unwrap_or([clip.max_tokens; 2]), memory)?;
        // A later latent frame takes more than the first, with all that it remembers of the frames before it.
        let [_, latent_frames, _, _] = clip.latents;
        let decode = recorded.decode(architecture, latent_frames == 1)?;
        let Stages { sampler, decoder, prompt, negative, embeddings, text, context, step } = recorded;

        let contexts = || std::iter::once(&prompt).chain(&negative);
        let row_bytes = device_bytes(contexts().map(|c| &c.rows));
        let context_bytes =
            row_bytes + device_bytes(contexts().flat_map(|c| &c.keys_values).flat_map(|(k, v)| [k, v]));
        let state_bytes = device_bytes(&sampler.tensors());
        // A clip of one frame never reads the older half of the decoder's memory, so that it is not allocated.
        let used: HashSet<u64> = decode.tensors().map(Tensor::id).collect();
        let decoder_bytes = device_bytes(decoder.tensors().iter().filter(|t| used.contains(&t.id())));
        // Frames are read back one at a time, through a buffer that JavaScript can map.
        let readback = device_bytes(decoder.rgba.first());
        // What decides on steps without a pass is read back as well.
        let spared = device_bytes(sampler.reuse.iter().map(|reuse| &reuse.velocity));
        let mut stages = Vec::new();
        if let Some(frames) = clip.encoded_frames() {
            let state = EncoderState::new(architecture, [frames, clip.height, clip.width]);
            let encode = stages::encode(architecture, &state, frames == 1)?;
            let used: HashSet<u64> = encode.tensors().map(Tensor::id).collect();
            let state_bytes = device_bytes(state.tensors().iter().filter(|t| used.contains(&t.id())));
            let readback = device_bytes([&state.out]);
            stages.push(device.stage("encode", &encode, state_bytes + readback)?);
        }
        stages.extend([
            device.stage("text", &text, row_bytes + device_bytes([&embeddings]))?,
            device.stage("context", &context, context_bytes)?,
            device.stage("step", &step, context_bytes + state_bytes + spared)?,
            device.stage("decode", &decode, state_bytes + decoder_bytes + readback)?,
        ]);
        Ok(Self {
            width: clip.width,
            height: clip.height,
            frames: clip.frames,
            windows: 1,
            weight_bytes: device.all + device.statistics,
            peak_bytes: stages.iter().map(|s| s.total_bytes).fold(0, u64::max),
            largest_binding: stages.iter().map(|s| s.largest_binding).fold(0, u64::max),
            stages,
        })
    }
}

impl ClipPlan {
    /// The plan of a film's most demanding window, by `plan`, which plans one. Windows that differ in their prompts or in what they are
    /// given are looked at, others taken to be alike.
    ///
    /// # Errors
    /// As [`windows`], [`Clip::new`] and `plan`.
    pub fn of_film(
        architecture: &Architecture,
        options: &GenerateOptions,
        plan: impl Fn(&Clip) -> Result<Self>,
    ) -> Result<Self> {
        let configs = &architecture.configs;
        let windows = windows(options, configs)?;
        let total = windows.last().map_or(0, |w| w.start + w.frames);
        let [width, height] = configs.size(options)?;
        let mut seen = HashSet::new();
        let mut most: Option<Self> = None;
        for (index, window) in windows.iter().enumerate() {
            let before = (index > 0).then(|| Footage::black(width, height, window.overlap));
            let options = window.options(options, total, index, before);
            let places: Vec<_> = options.given.iter().map(|g| (g.at, g.footage.frames())).collect();
            if !seen.insert((window.prompt.clone(), places)) {
                continue;
            }
            let found = plan(&Clip::new(&options, configs)?)?;
            most = most.filter(|most| most.peak_bytes >= found.peak_bytes).or(Some(found));
        }
        let nothing = || Error::WrongState { call: "plan", reason: "the film has no window".into() };
        Ok(Self { frames: total, windows: windows.len(), ..most.ok_or_else(nothing)? })
    }

    /// The stage that takes the most.
    pub fn wall(&self) -> Option<&StagePlan> {
        self.stages.iter().max_by_key(|stage| stage.total_bytes)
    }
}

/// What is planned for: limits, or none for the CPU, memory, and the weights by tensor with their sum.
struct Device<'a> {
    limits: Option<&'a Limits>,
    memory: Option<u64>,
    weights: HashMap<u64, u64>,
    all: u64,
    statistics: u64,
}

impl Device<'_> {
    /// Plans a recording beside `state` bytes of the clip's.
    fn stage(&self, name: &'static str, recording: &Recording, state: u64) -> Result<StagePlan> {
        self.stage_plan(name, recording, state).map_err(|error| match error {
            Error::DeviceTooSmall { what, needed, allowed } => {
                Error::DeviceTooSmall { what: format!("{what} (stage {name})"), needed, allowed }
            }
            other => other,
        })
    }

    fn stage_plan(&self, name: &'static str, recording: &Recording, state: u64) -> Result<StagePlan> {
        let (temporary_bytes, uniform_bytes, largest_binding, largest_buffer) = match self.limits {
            None => (recording.live_bytes(), 0, 0, 0),
            Some(limits) => {
                let plan = Plan::measure(recording, limits)?;
                (plan.temporary_bytes, plan.uniform_bytes, plan.largest_binding, plan.largest_buffer)
            }
        };
        let other = self.statistics + state + temporary_bytes + uniform_bytes;
        let bytes = |id: u64| self.weights.get(&id).copied();
        let room = Room::decide(recording, &bytes, [self.all, other], self.memory)?;
        let weight_bytes = room.weight_bytes(recording, &bytes, self.all);
        Ok(StagePlan {
            stage: name,
            weights: room.name(),
            weight_bytes,
            temporary_bytes,
            total_bytes: weight_bytes + other,
            largest_binding,
            largest_buffer,
            flops: recording.flops(),
        })
    }
}
