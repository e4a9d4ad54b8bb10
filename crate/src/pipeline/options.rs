//! What can be asked of a model, and the checks before anything runs.

use super::architecture::Configs;
use super::film::TimedPrompt;
use super::given::{Edit, Given, Timeline};
use crate::config::{SchedulerConfig, Solver};
use crate::sampling::{Schedule, ScheduleOptions};
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
    /// Width divided by height, for a side that is not stated.
    pub aspect: Option<f64>,
    /// Frames.
    pub frames: Option<usize>,
    /// Denoising steps, 1 to 1,000.
    pub steps: Option<usize>,
    /// Classifier-free guidance scale; up to 1 is none.
    pub guidance: Option<f64>,
    /// The sigmas, lowest and highest, between which there is guidance; everywhere if there is none.
    pub guidance_interval: Option<[f64; 2]>,
    /// Predicted change of the transformer's output, as a share of it, up to which a step goes without a pass
    /// ([`crate::sampling::StepCache`]): above 0, to 1. Every step has its pass if there is none.
    pub step_cache: Option<f64>,
    /// Sigmas to go through instead of a grid of `steps`, falling from 1 or less to above 0.
    pub sigmas: Option<Vec<f64>>,
    /// Timestep shift, 0.01 to 100.
    pub shift: Option<f64>,
    /// Solver; the folder's scheduler class decides otherwise.
    pub solver: Option<Solver>,
    /// Tokens that the prompt is cut and padded to.
    pub max_tokens: Option<usize>,
    /// Seed of the noise, as `torch.Generator("cpu").manual_seed`; 0 by default.
    pub seed: Option<u64>,
    /// Pictures and clips that the clip is to contain.
    pub given: Vec<Given>,
    /// A clip to change, instead of making one from noise alone.
    pub edit: Option<Edit>,
    /// Length of a film instead of `frames`, which then is the length of its windows: up to [`LONGEST_SECONDS`]. This and the next two
    /// are [`super::Film`]'s; a [`Clip`] is one window.
    pub seconds: Option<f64>,
    /// Frames that two windows share: a multiple of the model's temporal stride, plus one.
    pub overlap: Option<usize>,
    /// Prompts that hold from a moment on; `prompt` holds before the first.
    pub prompts: Vec<TimedPrompt>,
    /// Whether steps come with a small picture, where the model knows how to make one.
    pub preview: bool,
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
    /// The sigmas, lowest and highest, between which there is guidance.
    pub guidance_interval: [f64; 2],
    /// Predicted change of the transformer's output up to which a step goes without a pass.
    pub step_cache: Option<f64>,
    /// Tokens that prompts are padded to.
    pub max_tokens: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Timesteps and coefficients.
    pub schedule: Schedule,
    /// What the clip is to contain, with where it lies; none of it where `timeline` is `None`.
    pub given: Vec<Given>,
    /// Which latent frames are given.
    pub timeline: Option<Timeline>,
    /// The clip to change.
    pub edit: Option<Edit>,
    /// `[T, H, W]` of the latents: 1 where the clip is made, 0 where it is given or kept; `None` where all of it is made.
    pub open: Option<Vec<f32>>,
    /// Whether steps come with a small picture.
    pub preview: bool,
}

/// Longest side that is accepted, in pixels: 8K.
pub(super) const MAX_SIDE: usize = 8_192;
/// Longest clip that is accepted: two and a half minutes at 24 frames a second.
pub(super) const MAX_FRAMES: usize = 3_601;
/// Longest film that is accepted.
pub const LONGEST_SECONDS: f64 = 60.0;
const MAX_GUIDANCE: f64 = 100.0;

impl Clip {
    /// Checks `options` against what the model can make.
    ///
    /// # Errors
    /// [`Error::SizeUnsupported`], [`Error::FramesUnsupported`], [`Error::OptionInvalid`].
    pub fn new(options: &GenerateOptions, configs: &Configs) -> Result<Self> {
        let defaults = &configs.defaults;
        let [width, height] = configs.size(options)?;
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
        let guidance_interval = options.guidance_interval.unwrap_or([0.0, 1.0]);
        let [low, high] = guidance_interval;
        let is_interval = 0.0 <= low && low <= high && high <= 1.0;
        check(
            "guidanceInterval",
            is_interval,
            "two sigmas, the lower one first, 0 to 1",
            format!("{low}, {high}"),
        )?;
        if let Some(threshold) = options.step_cache {
            check("stepCache", threshold > 0.0 && threshold <= 1.0, "above 0, to 1", threshold)?;
        }
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
        let timeline = Timeline::new(&options.given, [frames, height, width], stride)?;
        let [_, t, h, w] = latents;
        let open = match (&timeline, &options.edit) {
            (Some(_), Some(_)) => {
                let expected = "given frames or a clip to change, not both".into();
                return Err(Error::OptionInvalid { option: "given".into(), expected, found: "both".into() });
            }
            (Some(timeline), None) => Some(timeline.open(h * w)),
            (None, Some(edit)) => {
                edit.check([frames, height, width])?;
                let mask = edit.mask.as_ref();
                mask.map(|mask| mask.open([frames, height, width], [t, h, w], stride)).transpose()?
            }
            (None, None) => None,
        };
        Ok(Self {
            prompt: options.prompt.clone(),
            negative: options.negative.clone().unwrap_or_else(|| defaults.negative_prompt.clone()),
            width,
            height,
            frames,
            latents,
            guidance,
            guidance_interval,
            step_cache: options.step_cache,
            max_tokens,
            seed: options.seed.unwrap_or(0),
            schedule: schedule(options, configs)?,
            given: options.given.clone(),
            timeline,
            edit: options.edit.clone(),
            open,
            preview: options.preview,
        })
    }

    /// Frames that are encoded before the clip is made; `None` where it is made from its prompt alone.
    pub fn encoded_frames(&self) -> Option<usize> {
        let edited = self.edit.as_ref().map(|_| self.frames);
        self.timeline.as_ref().map(Timeline::encoded_frames).or(edited)
    }

    /// Whether a second pass without the prompt is made in any step.
    pub fn guided(&self) -> bool {
        self.schedule.steps.iter().any(|step| self.guided_at(step.sigma))
    }

    /// Whether it is made in a step that begins at `sigma`.
    pub fn guided_at(&self, sigma: f64) -> bool {
        let [low, high] = self.guidance_interval;
        self.guidance > 1.0 && (low..=high).contains(&sigma)
    }
}

fn schedule(options: &GenerateOptions, configs: &Configs) -> Result<Schedule> {
    let config: &SchedulerConfig = &configs.scheduler;
    let solver = options.solver.unwrap_or(configs.index.solver);
    let steps = options.steps.unwrap_or(configs.defaults.steps);
    let more = ScheduleOptions {
        shift: options.shift.or(configs.defaults.shift),
        sigmas: options.sigmas.as_deref(),
        strength: options.edit.as_ref().map(|edit| edit.strength),
    };
    Schedule::new(config, solver, steps, &more)
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
