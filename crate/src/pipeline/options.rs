//! What can be asked of a model, and the checks before anything runs.

use super::architecture::Configs;
use crate::config::{SchedulerConfig, Solver};
use crate::sampling::Schedule;
use crate::{Error, Result};

/// What to make. Whatever is `None` has the model's own default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerateOptions {
    /// What the clip shows.
    pub prompt: String,
    /// What it must not show; used when guidance is above 1.
    pub negative: Option<String>,
    /// Pixels.
    pub width: Option<usize>,
    /// Pixels.
    pub height: Option<usize>,
    /// Frames.
    pub frames: Option<usize>,
    /// Denoising steps, 1 to 1,000.
    pub steps: Option<usize>,
    /// Classifier-free guidance scale; up to 1 is none.
    pub guidance: Option<f64>,
    /// Timestep shift, 0.01 to 100.
    pub shift: Option<f64>,
    /// Solver; the folder's scheduler class decides otherwise.
    pub solver: Option<Solver>,
    /// Tokens that the prompt is cut and padded to.
    pub max_tokens: Option<usize>,
    /// Seed of the noise, as `torch.Generator("cpu").manual_seed`; 0 by default.
    pub seed: Option<u64>,
}

/// Checked options.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// What the clip shows.
    pub prompt: String,
    /// What the unconditional pass is given.
    pub negative: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames.
    pub frames: usize,
    /// `[C, T, H, W]`.
    pub latents: [usize; 4],
    /// Guidance scale.
    pub guidance: f64,
    /// Tokens that prompts are padded to.
    pub max_tokens: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Timesteps and coefficients.
    pub schedule: Schedule,
}

/// Longest side that is accepted, in pixels: 8K.
pub(super) const MAX_SIDE: usize = 8_192;
/// Longest clip that is accepted: two and a half minutes at 24 frames a second.
pub(super) const MAX_FRAMES: usize = 3_601;
const MAX_GUIDANCE: f64 = 100.0;

impl Clip {
    /// Checks `options` against what the model can make.
    ///
    /// # Errors
    /// [`Error::SizeUnsupported`], [`Error::FramesUnsupported`], [`Error::OptionInvalid`].
    pub fn new(options: &GenerateOptions, configs: &Configs) -> Result<Self> {
        let defaults = &configs.defaults;
        let width = options.width.unwrap_or(defaults.width);
        let height = options.height.unwrap_or(defaults.height);
        let frames = options.frames.unwrap_or(defaults.frames);
        let multiple = configs.size_multiple();
        let fits = |side: usize| side > 0 && side <= MAX_SIDE && side.is_multiple_of(multiple);
        if !fits(width) || !fits(height) {
            return Err(Error::SizeUnsupported {
                width,
                height,
                multiple,
                nearest_width: nearest(width.min(MAX_SIDE), multiple).max(multiple),
                nearest_height: nearest(height.min(MAX_SIDE), multiple).max(multiple),
            });
        }
        let stride = configs.vae.scale_factor_temporal;
        if frames == 0 || frames > MAX_FRAMES || !(frames - 1).is_multiple_of(stride) {
            return Err(Error::FramesUnsupported {
                frames,
                stride,
                nearest: nearest(frames.clamp(1, MAX_FRAMES) - 1, stride) + 1,
            });
        }
        let guidance = options.guidance.unwrap_or(defaults.guidance_scale);
        check("guidance", (0.0..=MAX_GUIDANCE).contains(&guidance), "0 to 100", guidance)?;
        let max_tokens = options.max_tokens.unwrap_or(defaults.max_sequence_length);
        check("maxTokens", (1..=4096).contains(&max_tokens), "1 to 4096", max_tokens)?;
        let scale = configs.vae.scale_factor_spatial;
        let latents = [configs.vae.z_dim, (frames - 1) / stride + 1, height / scale, width / scale];
        let patches =
            latents.iter().skip(1).zip(configs.transformer.patch_size).map(|(size, patch)| size / patch);
        let limit = configs.transformer.rope_max_seq_len;
        if let Some(found) = patches.clone().find(|&n| n > limit) {
            let expected = format!("at most {limit} patches along time, rows and columns");
            return Err(Error::OptionInvalid { option: "size".into(), expected, found: found.to_string() });
        }
        Ok(Self {
            prompt: options.prompt.clone(),
            negative: options.negative.clone().unwrap_or_else(|| defaults.negative_prompt.clone()),
            width,
            height,
            frames,
            latents,
            guidance,
            max_tokens,
            seed: options.seed.unwrap_or(0),
            schedule: schedule(options, configs)?,
        })
    }

    /// Whether a second pass without the prompt is made in every step.
    pub fn guided(&self) -> bool {
        self.guidance > 1.0
    }
}

fn schedule(options: &GenerateOptions, configs: &Configs) -> Result<Schedule> {
    let config: &SchedulerConfig = &configs.scheduler;
    let solver = options.solver.unwrap_or(configs.index.solver);
    let steps = options.steps.unwrap_or(configs.defaults.steps);
    Schedule::new(config, solver, steps, options.shift.or(configs.defaults.shift))
}

fn nearest(value: usize, multiple: usize) -> usize {
    (value + multiple / 2) / multiple * multiple
}

fn check(option: &str, ok: bool, expected: &str, found: impl ToString) -> Result<()> {
    if ok {
        return Ok(());
    }
    Err(Error::OptionInvalid { option: option.into(), expected: expected.into(), found: found.to_string() })
}
