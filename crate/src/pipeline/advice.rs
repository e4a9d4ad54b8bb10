//! Whether a clip can be made, and what would be the nearest that can, before a weight is read.

use std::collections::BTreeMap;

use super::architecture::Architecture;
use super::options::GenerateOptions;
use super::plan::ClipPlan;
use crate::config::TaehvConfig;
use crate::gpu::Limits;
use crate::weights::blocks::Block;
use crate::weights::{FileDtype, Packing};
use crate::{Error, Result};

/// What a source's headers say of a clip.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// Bytes of weights to be read, by component.
    pub download: BTreeMap<String, u64>,
    /// Whether it can be made.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The nearest that can be made where it cannot; where it can, but only with the transformer's weights read again at every step, the
    /// weights with which they would stay.
    pub alternatives: Vec<Alternative>,
}

/// Whether a clip can be made.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Verdict {
    /// It can.
    Fits {
        /// What it takes.
        plan: ClipPlan,
    },
    /// The device is too small for it.
    TooLarge {
        /// What stands in its way.
        obstacle: Obstacle,
    },
}

/// What a device has too little of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// What does not fit.
    pub what: String,
    /// Bytes.
    pub needed: u64,
    /// Bytes.
    pub allowed: u64,
}

/// A clip that can be made instead, or the clip itself with other weights.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// What is other than asked for: one thing, or all that it takes together.
    pub changes: Vec<Change>,
    /// What to do for it, in words.
    pub remedy: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames, of a window where the clip has several.
    pub frames: usize,
    /// Bytes at the worst moment.
    pub peak_bytes: u64,
}

/// What an alternative has other than what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// A shorter clip.
    FewerFrames,
    /// A smaller one, in the same shape.
    Smaller,
    /// TAEHV in the place of the VAE.
    TinyDecoder,
    /// The transformer as `kinetoscope pack --transformer q4_k` leaves it.
    FourBitTransformer,
    /// The text encoder as `kinetoscope pack --text-encoder q4_k` leaves it.
    FourBitTextEncoder,
}

/// Every set of [`Change`]s of the weights, smaller ones first.
const SUBSTITUTES: [&[Change]; 7] = {
    use Change::{FourBitTextEncoder as Text, FourBitTransformer as Transformer, TinyDecoder as Tiny};
    [
        &[Tiny],
        &[Transformer],
        &[Text],
        &[Tiny, Transformer],
        &[Tiny, Text],
        &[Transformer, Text],
        &[Tiny, Transformer, Text],
    ]
};

impl Advice {
    /// Plans a clip for a GPU with `limits`, or the CPU, of which `memory` bytes may be taken.
    ///
    /// # Errors
    /// Those of the options; that the clip does not fit is none.
    pub fn new(
        architecture: &Architecture,
        options: &GenerateOptions,
        limits: Option<&Limits>,
        memory: Option<u64>,
    ) -> Result<Self> {
        let device = Device { limits, memory };
        let download = architecture.weights.file_bytes();
        let (verdict, alternatives) = match device.plan(architecture, options)? {
            Ok(plan) if reads_again(&plan) => {
                let stay = |plan: &ClipPlan| !reads_again(plan);
                (Verdict::Fits { plan }, device.other_weights(architecture, options, &stay)?)
            }
            Ok(plan) => (Verdict::Fits { plan }, Vec::new()),
            Err(obstacle) => {
                let mut alternatives = device.lesser_clips(architecture, options)?;
                alternatives.extend(device.other_weights(architecture, options, &|_| true)?);
                (Verdict::TooLarge { obstacle }, alternatives)
            }
        };
        Ok(Self { download, verdict, alternatives })
    }
}

/// Whether the transformer's weights come and go at every step.
fn reads_again(plan: &ClipPlan) -> bool {
    plan.stages.iter().any(|stage| stage.stage == "step" && stage.weights == "parts")
}

/// What is planned for.
struct Device<'a> {
    limits: Option<&'a Limits>,
    memory: Option<u64>,
}

impl Device<'_> {
    /// What the clip takes, or what stands in its way.
    fn plan(
        &self,
        architecture: &Architecture,
        options: &GenerateOptions,
    ) -> Result<std::result::Result<ClipPlan, Obstacle>> {
        let plan = |clip: &_| ClipPlan::new(architecture, clip, self.limits, None, self.memory);
        match ClipPlan::of_film(architecture, options, plan) {
            Ok(plan) => Ok(Ok(plan)),
            Err(Error::DeviceTooSmall { what, needed, allowed }) => {
                Ok(Err(Obstacle { what, needed, allowed }))
            }
            Err(other) => Err(other),
        }
    }

    /// The longest clip of the size, and the largest of the length, that fit.
    fn lesser_clips(
        &self,
        architecture: &Architecture,
        options: &GenerateOptions,
    ) -> Result<Vec<Alternative>> {
        // Given frames have the size of the clip, so that another size or length is another request: nothing is offered then.
        if !options.given.is_empty() || options.edit.is_some() {
            return Ok(Vec::new());
        }
        let configs = &architecture.configs;
        let [width, height] = configs.size(options)?;
        let stride = configs.vae.scale_factor_temporal.max(1);
        let multiple = configs.size_multiple();
        let frames = options.frames.unwrap_or(configs.defaults.frames);
        let of = |width: usize, height: usize, frames: usize| GenerateOptions {
            width: Some(width),
            height: Some(height),
            frames: Some(frames),
            ..options.clone()
        };
        // What the other options do not allow, such as a prompt from a moment on that a shorter clip has not, is no alternative either.
        let alternative = |change, asked: GenerateOptions| {
            let plan = self.plan(architecture, &asked).ok()?.ok()?;
            let frames = asked.frames.unwrap_or(plan.frames);
            let remedy = match change {
                Change::FewerFrames => format!("{frames} frames"),
                _ => format!("{}x{}", plan.width, plan.height),
            };
            Some(Alternative { remedy, ..Alternative::of(&plan, frames, &[change]) })
        };
        let fewer = |latent_frames: usize| of(width, height, (latent_frames - 1) * stride + 1);
        let side = |side: usize, of: usize, steps: usize| (side * of / steps / multiple).max(1) * multiple;
        let steps = (width.min(height) / multiple).max(1);
        let smaller =
            |of_steps: usize| of(side(width, of_steps, steps), side(height, of_steps, steps), frames);
        let most = frames.saturating_sub(1) / stride;
        let fewer = largest(most, |n| alternative(Change::FewerFrames, fewer(n)));
        let smaller = largest(steps.saturating_sub(1), |n| alternative(Change::Smaller, smaller(n)));
        Ok(fewer.into_iter().chain(smaller).collect())
    }

    /// The clip itself with weights that take less: each with which its plan is good, and together those of which none is enough alone.
    fn other_weights(
        &self,
        architecture: &Architecture,
        options: &GenerateOptions,
        good: &dyn Fn(&ClipPlan) -> bool,
    ) -> Result<Vec<Alternative>> {
        let tiny = TaehvConfig::in_place_of(&architecture.configs.vae);
        let mut found: Vec<Alternative> = Vec::new();
        for changes in SUBSTITUTES {
            let enough = |less: &Alternative| less.changes.iter().all(|change| changes.contains(change));
            let has = |change| changes.contains(&change);
            if found.iter().any(enough) || (has(Change::TinyDecoder) && tiny.is_none()) {
                continue;
            }
            let tiny = tiny.clone().filter(|_| has(Change::TinyDecoder));
            let other =
                architecture.substituted(packing(changes), tiny.as_ref().map(|(tiny, _)| tiny.clone()))?;
            if let Some(plan) = self.plan(&other, options)?.ok().filter(good) {
                let remedy = remedy(changes, tiny.map(|(_, file)| file));
                let frames = options.frames.unwrap_or(architecture.configs.defaults.frames);
                found.push(Alternative { remedy, ..Alternative::of(&plan, frames, changes) });
            }
        }
        Ok(found)
    }
}

impl Alternative {
    fn of(plan: &ClipPlan, frames: usize, changes: &[Change]) -> Self {
        let ClipPlan { width, height, peak_bytes, .. } = *plan;
        Self { changes: changes.to_vec(), remedy: String::new(), width, height, frames, peak_bytes }
    }
}

/// What `kinetoscope pack` is told for `changes`; where there is nothing to pack, everything stays.
fn packing(changes: &[Change]) -> impl Fn(&str) -> Packing {
    let four = [Change::FourBitTransformer, Change::FourBitTextEncoder].map(|c| changes.contains(&c));
    move |component| match (component, four) {
        ("transformer", [true, _]) | ("text_encoder", [_, true]) => Packing::To(FileDtype::Block(Block::Q4K)),
        ("vae", [true, _] | [_, true]) => Packing::AtMost16,
        _ => Packing::Keep,
    }
}

/// What to do for `changes` of the weights; `tiny` is the file of the tiny decoder.
fn remedy(changes: &[Change], tiny: Option<&str>) -> String {
    let flags = changes.iter().filter_map(|change| match change {
        Change::FourBitTransformer => Some(" --transformer q4_k"),
        Change::FourBitTextEncoder => Some(" --text-encoder q4_k"),
        _ => None,
    });
    let flags: String = flags.collect();
    let packed = (!flags.is_empty()).then(|| format!("weights in 4 bits (kinetoscope pack{flags})"));
    let tiny = tiny.map(|file| format!("the tiny decoder in the VAE's place (--vae {file})"));
    packed.into_iter().chain(tiny).collect::<Vec<_>>().join(" and ")
}

/// What the largest of 1 to `most` gives for which there is something; with less there is something too.
fn largest<T>(most: usize, of: impl Fn(usize) -> Option<T>) -> Option<T> {
    let (mut low, mut high, mut found) = (1, most, None);
    while low <= high {
        let middle = low + (high - low) / 2;
        match of(middle) {
            Some(one) => (found, low) = (Some(one), middle + 1),
            None => high = middle - 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::architecture::tests::shipped_configs;

    #[test]
    fn the_largest_is_found() {
        for most in 0..20 {
            for bound in 0..22 {
                let found = largest(most, |n| (n <= bound).then_some(n));
                assert_eq!(found, Some(most.min(bound)).filter(|n| *n > 0), "{most}, {bound}");
            }
        }
    }

    /// Each set once, after all that are parts of it.
    #[test]
    fn few_changes_are_tried_before_many() {
        for (index, changes) in SUBSTITUTES.iter().enumerate() {
            let part_of = |other: &[Change]| changes.iter().all(|change| other.contains(change));
            assert!(!SUBSTITUTES.iter().take(index).any(|earlier| part_of(earlier)), "{changes:?}");
        }
        assert_eq!(
            remedy(SUBSTITUTES[6], Some("taew2_2.safetensors")),
            "weights in 4 bits (kinetoscope pack --transformer q4_k --text-encoder q4_k) and the tiny decoder in the VAE's \
             place (--vae taew2_2.safetensors)"
        );
    }

    #[test]
    fn what_does_not_fit_comes_with_what_does() {
        let architecture = Architecture::assumed(shipped_configs()).unwrap();
        let options = GenerateOptions { width: Some(128), height: Some(96), ..Default::default() };
        let advice = |options: &GenerateOptions, memory| {
            Advice::new(&architecture, options, Some(&Limits::GUARANTEED), memory).unwrap()
        };
        let Advice { verdict: Verdict::Fits { plan: all }, alternatives, .. } = advice(&options, None) else {
            panic!("no limit is too small")
        };
        assert!(alternatives.is_empty());
        // Half of what is needed when only the stage's own weights are there.
        let least = all.stages.iter().map(|s| s.total_bytes - s.weight_bytes).max().unwrap();
        let Advice { verdict: Verdict::TooLarge { obstacle }, alternatives, .. } =
            advice(&options, Some(least / 2))
        else {
            panic!("half of it is enough")
        };
        assert_eq!(obstacle.allowed, least / 2);
        // No tiny decoder is published for the shipped model's latents.
        let changes: Vec<_> = alternatives.iter().flat_map(|other| &other.changes).collect();
        assert!(!changes.is_empty() && !changes.contains(&&Change::TinyDecoder));
        for other in alternatives {
            assert!(other.peak_bytes <= least / 2);
            match other.changes[..] {
                [Change::FewerFrames] => assert!(other.frames < all.frames && other.width == 128),
                [Change::Smaller] => assert!(other.width < 128 && other.height < 96),
                ref changes => panic!("{changes:?} makes the activations no smaller"),
            }
            let again = GenerateOptions {
                width: Some(other.width),
                height: Some(other.height),
                frames: Some(other.frames),
                ..options.clone()
            };
            let Verdict::Fits { plan } = advice(&again, Some(least / 2)).verdict else {
                panic!("it does not fit")
            };
            assert_eq!(plan.peak_bytes, other.peak_bytes);
        }
    }
}
