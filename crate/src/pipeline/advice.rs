//! Whether a clip can be made, and what would be the nearest that can, before a weight is read.

use std::collections::BTreeMap;

use super::architecture::Architecture;
use super::options::GenerateOptions;
use super::plan::ClipPlan;
use crate::gpu::Limits;
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
        /// The nearest clips that can be made.
        alternatives: Vec<Alternative>,
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

/// A clip that can be made instead.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames, of a window where the clip has several.
    pub frames: usize,
    /// Bytes at the worst moment.
    pub peak_bytes: u64,
}

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
        let plan = |options: &GenerateOptions| {
            let plan = |clip: &_| ClipPlan::new(architecture, clip, limits, None, memory);
            match ClipPlan::of_film(architecture, options, plan) {
                Ok(plan) => Ok(Ok(plan)),
                Err(Error::DeviceTooSmall { what, needed, allowed }) => {
                    Ok(Err(Obstacle { what, needed, allowed }))
                }
                Err(other) => Err(other),
            }
        };
        let download = architecture.weights.file_bytes();
        let obstacle = match plan(options)? {
            Ok(plan) => return Ok(Self { download, verdict: Verdict::Fits { plan } }),
            Err(obstacle) => obstacle,
        };
        let [width, height] = architecture.configs.size(options)?;
        let stride = architecture.configs.vae.scale_factor_temporal.max(1);
        let multiple = architecture.configs.size_multiple();
        let frames = options.frames.unwrap_or(architecture.configs.defaults.frames);
        let of = |width: usize, height: usize, frames: usize| GenerateOptions {
            width: Some(width),
            height: Some(height),
            frames: Some(frames),
            ..options.clone()
        };
        // Given frames have the size of the clip, so that another size or length is another request: nothing is offered then.
        let free = options.given.is_empty() && options.edit.is_none();
        // What the other options do not allow, such as a prompt from a moment on that a shorter clip has not, is no alternative either.
        let alternative = |asked: GenerateOptions| {
            let plan = plan(&asked).ok()?.ok()?;
            let frames = asked.frames.unwrap_or(plan.frames);
            let ClipPlan { width, height, peak_bytes, .. } = plan;
            Some(Alternative { width, height, frames, peak_bytes })
        };
        let fewer = |latent_frames: usize| of(width, height, (latent_frames - 1) * stride + 1);
        let side = |side: usize, of: usize, steps: usize| (side * of / steps / multiple).max(1) * multiple;
        let steps = (width.min(height) / multiple).max(1);
        let smaller =
            |of_steps: usize| of(side(width, of_steps, steps), side(height, of_steps, steps), frames);
        let mut alternatives = Vec::new();
        if free {
            let most = frames.saturating_sub(1) / stride;
            alternatives.extend(largest(most, |n| alternative(fewer(n))));
            alternatives.extend(largest(steps.saturating_sub(1), |n| alternative(smaller(n))));
        }
        Ok(Self { download, verdict: Verdict::TooLarge { obstacle, alternatives } })
    }
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

    #[test]
    fn what_does_not_fit_comes_with_what_does() {
        let architecture = Architecture::assumed(shipped_configs()).unwrap();
        let options = GenerateOptions { width: Some(128), height: Some(96), ..Default::default() };
        let verdict = |options: &GenerateOptions, memory| {
            Advice::new(&architecture, options, Some(&Limits::GUARANTEED), memory).unwrap().verdict
        };
        let Verdict::Fits { plan: all } = verdict(&options, None) else { panic!("no limit is too small") };
        // Half of what is needed when only the stage's own weights are there.
        let least = all.stages.iter().map(|s| s.total_bytes - s.weight_bytes).max().unwrap();
        let Verdict::TooLarge { obstacle, alternatives } = verdict(&options, Some(least / 2)) else {
            panic!("half of it is enough")
        };
        assert_eq!(obstacle.allowed, least / 2);
        assert!(!alternatives.is_empty());
        for other in alternatives {
            assert!(other.peak_bytes <= least / 2);
            assert!(
                other.frames < all.frames && other.width == 128 || other.width < 128 && other.height < 96
            );
            let again = GenerateOptions {
                width: Some(other.width),
                height: Some(other.height),
                frames: Some(other.frames),
                ..options.clone()
            };
            let Verdict::Fits { plan } = verdict(&again, Some(least / 2)) else { panic!("it does not fit") };
            assert_eq!(plan.peak_bytes, other.peak_bytes);
        }
    }
}
