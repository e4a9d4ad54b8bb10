//! `kinetoscope.json`: what a model is meant to be run with, where diffusers has no place for it.

use super::ConfigFile;
use crate::error::Result;
use serde::Deserialize;

/// The folder's own defaults for a clip; every field, and the file itself, may be missing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct GenerationDefaults {
    /// Name to show; the folder's name where it is missing.
    pub name: Option<String>,
    /// Tokens that prompts are padded to, as in training; 512.
    pub max_sequence_length: usize,
    /// Pixels; 832.
    pub width: usize,
    /// Pixels; 480.
    pub height: usize,
    /// Frames of a clip; 81.
    pub frames: usize,
    /// Frames a second when playing; 16.
    pub fps: f64,
    /// Denoising steps; 50.
    pub steps: usize,
    /// Classifier-free guidance scale; 1 is none; 5.
    pub guidance_scale: f64,
    /// What the unconditional pass is given; empty.
    pub negative_prompt: String,
    /// Timestep shift; the scheduler's own where it is missing.
    pub shift: Option<f64>,
    /// How to make small pictures of latents; without it there are none.
    pub latent_rgb: Option<LatentRgb>,
}

/// A linear map from a place of the latents, normalised as the transformer sees them, to the mean colour of its pixels, in 0..1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LatentRgb {
    /// Red, green and blue for each latent channel.
    pub weights: Vec<[f64; 3]>,
    /// What is added.
    pub bias: [f64; 3],
}

impl Default for GenerationDefaults {
    /// Wan 2.1 1.3B's defaults in diffusers' `WanPipeline`.
    fn default() -> Self {
        Self {
            name: None,
            max_sequence_length: 512,
            width: 832,
            height: 480,
            frames: 81,
            fps: 16.0,
            steps: 50,
            guidance_scale: 5.0,
            negative_prompt: String::new(),
            shift: None,
            latent_rgb: None,
        }
    }
}

impl GenerationDefaults {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "kinetoscope.json";

    /// FastWan's: three steps without guidance.
    pub fn distilled() -> Self {
        Self { steps: 3, guidance_scale: 1.0, ..Self::default() }
    }

    /// Reads and checks the file.
    ///
    /// Fails with `FileInvalid` (no JSON, wrong types) or `ConfigUnsupported` (a value out of range).
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let file = ConfigFile::new(path, json);
        let found: Self = file.parse()?;
        file.within("max_sequence_length", found.max_sequence_length, 1..=4096)?;
        file.within("width", found.width, 1..=16_384)?;
        file.within("height", found.height, 1..=16_384)?;
        file.within("frames", found.frames, 1..=65_536)?;
        file.within_f64("fps", found.fps, 0.1..=1000.0)?;
        file.within("steps", found.steps, 1..=1000)?;
        file.within_f64("guidance_scale", found.guidance_scale, 0.0..=100.0)?;
        if let Some(shift) = found.shift {
            file.within_f64("shift", shift, super::SchedulerConfig::SHIFT_RANGE)?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, unsupported_field, with};
    use super::*;
    use serde_json::json;

    const PATH: &str = GenerationDefaults::PATH;

    #[test]
    fn shipped_model() {
        let found = GenerationDefaults::parse(PATH, &shipped(PATH)).unwrap();
        assert_eq!((found.width, found.height, found.frames), (64, 64, 17));
        assert_eq!((found.max_sequence_length, found.steps), (40, 4));
        assert_eq!((found.fps, found.guidance_scale, found.shift), (12.0, 1.0, None));
    }

    #[test]
    fn missing_fields() {
        let found = GenerationDefaults::parse(PATH, br#"{"steps": 3, "comment": [1]}"#).unwrap();
        assert_eq!(found, GenerationDefaults { steps: 3, ..Default::default() });
    }

    #[test]
    fn values_out_of_range() {
        for (field, value) in [
            ("steps", json!(0)),
            ("width", json!(0)),
            ("frames", json!(u64::MAX)),
            ("fps", json!(0)),
            ("guidance_scale", json!(-1)),
            ("max_sequence_length", json!(1_000_000)),
            ("shift", json!(0.0)),
        ] {
            let result = GenerationDefaults::parse(PATH, &with(PATH, field, value));
            assert_eq!(unsupported_field(result), field);
        }
        let result = GenerationDefaults::parse(PATH, &with(PATH, "steps", json!(-4)));
        assert_eq!(result.unwrap_err().code(), "file_invalid");
    }
}
