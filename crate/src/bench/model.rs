//! Whole models of random weights, at a clip's size: one pass of the transformer, and the decoding of all latent frames.
//!
//! Weights are in f16, activations in f32. The prompt is as long as the model takes, so that there is no padding to leave out. Reading
//! frames back is no part of a decoding.

use std::collections::HashSet;

use super::random::Input;
use crate::config::published::Published;
use crate::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use crate::executor::{Executor, Program};
use crate::models::wan::PromptContext;
use crate::pipeline::{Architecture, Clip, Configs, DecoderState, GenerateOptions, SamplerState, decode};
use crate::recording::{Recorder, Recording};
use crate::tensor::{DType, Lifetime, Tensor};
use crate::{CancelFlag, Result};

/// Timestep of a pass.
const TIMESTEP: f64 = 500.0;

/// Deviation of what is added to 1 in the scales of norms, and of biases about 0.
const DEVIATION: f32 = 0.1;

/// Most work of a model whose result is compared with the CPU executor's.
const COMPARED_FLOPS: u64 = 50_000_000_000;

macro_rules! embedded {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/small/", $path)).as_slice()
    };
}

/// Whose sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// The model that the repository ships.
    Small,
    /// Another one's.
    Of(Published),
}

impl Sizes {
    fn configs(self) -> Result<Configs> {
        match self {
            Self::Small => Configs::of_files(&[
                (ModelIndex::PATH, embedded!("model_index.json")),
                (WanTransformerConfig::PATH, embedded!("transformer/config.json")),
                (Umt5Config::PATH, embedded!("text_encoder/config.json")),
                (WanVaeConfig::PATH, embedded!("vae/config.json")),
                (SchedulerConfig::PATH, embedded!("scheduler/scheduler_config.json")),
                (GenerationDefaults::PATH, embedded!("kinetoscope.json")),
            ]),
            Self::Of(published) => Configs::published(published),
        }
    }
}

/// What of a model is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The transformer, once.
    Pass,
    /// The decoder, once a latent frame.
    Decode,
}

impl Part {
    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Decode => "decode",
        }
    }
}

/// A model at a clip's size, recorded.
#[derive(Debug)]
pub struct RecordedModel {
    /// Recordings in order, and how often each is run.
    pub recordings: Vec<(Recording, usize)>,
    /// `[C, T, H, W]`.
    pub latents: [usize; 4],
    /// Frames of the clip.
    pub frames: usize,
    /// What the last of them writes.
    result: Tensor,
    architecture: Architecture,
    sampler: SamplerState,
    context: PromptContext,
    decoder: DecoderState,
}

impl RecordedModel {
    /// Records part of a model for a clip of this width, height and number of frames; the model's own where there is none.
    ///
    /// # Errors
    /// A clip that the model cannot make.
    pub fn new(sizes: Sizes, part: Part, clip: Option<[usize; 3]>) -> Result<Self> {
        let architecture = Architecture::assumed(sizes.configs()?)?;
        let options = GenerateOptions {
            width: clip.map(|[width, _, _]| width),
            height: clip.map(|[_, height, _]| height),
            frames: clip.map(|[_, _, frames]| frames),
            ..GenerateOptions::default()
        };
        let clip = Clip::new(&options, &architecture.configs)?;
        let sampler = SamplerState::new(&architecture, &clip)?;
        let context = architecture.transformer.prompt_context(clip.max_tokens, clip.max_tokens);
        let decoder = DecoderState::new(&architecture, &clip);
        let [_, latent_frames, _, _] = clip.latents;
        let (recordings, result) = match part {
            Part::Pass => {
                let mut rec = Recorder::new();
                let transformer = &architecture.transformer;
                let time = transformer.embed_time(&mut rec, &sampler.sinusoid)?;
                let [velocity] = transformer.forward(
                    &mut rec,
                    &sampler.latents,
                    &time,
                    [&context],
                    false,
                    &sampler.rope,
                )?;
                let out = Tensor::resident(DType::F32, velocity.shape());
                rec.copy(&velocity, &out)?;
                (vec![(rec.finish(), 1)], out)
            }
            Part::Decode => {
                let of = |first| decode(&architecture, &sampler.latents, &decoder, first);
                let later = (latent_frames > 1).then(|| of(false).map(|later| (later, latent_frames - 1)));
                let recordings = std::iter::once(of(true).map(|first| (first, 1))).chain(later);
                // The first latent frame is one frame, and of the later ones this is the first.
                let shown = decoder.pixels.first().cloned();
                let result = shown.unwrap_or_else(|| decoder.frame.clone());
                (recordings.collect::<Result<Vec<_>>>()?, result)
            }
        };
        let (latents, frames) = (clip.latents, clip.frames);
        Ok(Self { recordings, latents, frames, result, architecture, sampler, context, decoder })
    }

    /// Multiplications and additions in all.
    pub fn flops(&self) -> u64 {
        self.recordings.iter().map(|(recording, times)| recording.flops() * *times as u64).sum()
    }

    /// Rows that the transformer works on.
    pub fn tokens(&self) -> usize {
        let [_, t, h, w] = self.latents;
        let [pt, ph, pw] = self.architecture.configs.transformer.patch_size;
        (t / pt.max(1)) * (h / ph.max(1)) * (w / pw.max(1))
    }

    /// Puts on a device what the recordings read.
    ///
    /// # Errors
    /// Those of the executor; nothing is left on the device then.
    pub fn upload(&self, executor: &Executor) -> Result<()> {
        let uploaded = self.fill(executor);
        if uploaded.is_err() {
            self.release(executor);
        }
        uploaded
    }

    fn fill(&self, executor: &Executor) -> Result<()> {
        let read: HashSet<u64> =
            self.recordings.iter().flat_map(|(r, _)| r.tensors()).map(Tensor::id).collect();
        let specs = self.architecture.weights.specs();
        for (seed, spec) in specs.into_iter().filter(|spec| read.contains(&spec.tensor.id())).enumerate() {
            let (mean, deviation) = match spec.tensor.shape() {
                [inputs, _] => (0.0, 1.0 / (*inputs as f32).sqrt()),
                _ if spec.key.contains("norm") && !spec.key.ends_with("bias") => (1.0, DEVIATION),
                _ => (0.0, DEVIATION),
            };
            Input::around(spec.tensor, seed as u64, mean, deviation).upload(executor)?;
        }
        let keys_values = self.context.keys_values.iter().flat_map(|(keys, values)| [keys, values]);
        let state = keys_values.chain([&self.sampler.latents]).filter(|tensor| read.contains(&tensor.id()));
        for (seed, tensor) in state.enumerate() {
            Input::around(tensor.clone(), !(seed as u64), 0.0, 1.0).upload(executor)?;
        }
        let [mean, deviation] = &self.architecture.latent_statistics;
        Input::around(mean.clone(), 0, 0.0, 0.0).upload(executor)?;
        Input::around(deviation.clone(), 0, 1.0, 0.0).upload(executor)?;
        let sinusoid = self.architecture.transformer.sinusoid(TIMESTEP).repeat(self.sampler.timesteps);
        executor.upload(&self.sampler.sinusoid, bytemuck::cast_slice(&sinusoid))?;
        executor.upload(&self.sampler.rope.table, bytemuck::cast_slice(&self.sampler.rope_values))
    }

    /// Frees everything that is resident.
    pub fn release(&self, executor: &Executor) {
        let tensors = self.recordings.iter().flat_map(|(recording, _)| recording.tensors());
        tensors.filter(|tensor| tensor.lifetime() == Lifetime::Resident).for_each(|t| executor.release(t));
        let [mean, deviation] = &self.architecture.latent_statistics;
        let state = [mean, deviation, &self.sampler.sinusoid, &self.sampler.rope.table];
        state.into_iter().for_each(|tensor| executor.release(tensor));
    }

    /// The programs of the recordings.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn prepare(&self, executor: &Executor) -> Result<Vec<Program>> {
        self.recordings.iter().map(|(recording, _)| executor.prepare(recording)).collect()
    }

    /// Runs them.
    ///
    /// # Errors
    /// Those of the executor.
    pub async fn run(&self, programs: &[Program], executor: &Executor, cancel: &CancelFlag) -> Result<()> {
        let mut frame = 0f32;
        for (program, (_, times)) in programs.iter().zip(&self.recordings) {
            for _ in 0..*times {
                executor.upload(&self.decoder.frame, bytemuck::bytes_of(&frame))?;
                executor.run(program, cancel).await?;
                frame += 1.0;
            }
        }
        Ok(())
    }

    /// The largest difference of the result, which has been computed, from the CPU executor's, relative to the root of the mean square of the
    /// latter; none where that would take long.
    ///
    /// # Errors
    /// Those of the executors.
    pub async fn error(&self, executor: &Executor, cancel: &CancelFlag) -> Result<Option<f64>> {
        if matches!(executor, Executor::Cpu(_)) || self.flops() > COMPARED_FLOPS {
            return Ok(None);
        }
        let found: Vec<f32> = bytemuck::pod_collect_to_vec(&executor.read(&self.result).await?);
        let cpu = Executor::from(crate::cpu::Cpu::new());
        self.upload(&cpu)?;
        self.run(&self.prepare(&cpu)?, &cpu, cancel).await?;
        let expected: Vec<f32> = bytemuck::pod_collect_to_vec(&cpu.read(&self.result).await?);
        let square = |value: &f32| f64::from(*value) * f64::from(*value);
        let scale = (expected.iter().map(square).sum::<f64>() / expected.len() as f64).sqrt();
        let difference = |(f, e): (&f32, &f32)| f64::from((f - e).abs()) / scale;
        // A NaN must not pass for small.
        let worst = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        Ok(Some(found.iter().zip(&expected).map(difference).fold(0.0, worst)))
    }
}
