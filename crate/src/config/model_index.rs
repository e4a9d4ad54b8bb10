//! `model_index.json`: which classes a diffusers pipeline folder is made of.

use super::{ConfigFile, Solver};
use crate::error::Result;
use serde::Deserialize;
use serde_json::Value;

/// What the folder's `model_index.json` says beyond its class names, which are checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelIndex {
    /// Every latent token has its own timestep, so that given frames can stand at 0 (Wan 2.2 TI2V).
    pub expand_timesteps: bool,
    /// The scheduler's class; [`Solver::Dmd`] for a pipeline distilled for it.
    pub solver: Solver,
}

/// A component entry: `[library, class]`, or `[null, null]` where the pipeline runs without it.
type Component = (Option<String>, Option<String>);

#[derive(Deserialize)]
struct Document {
    _class_name: Option<String>,
    #[serde(default)]
    expand_timesteps: bool,
    boundary_ratio: Option<Value>,
    transformer: Option<Component>,
    transformer_2: Option<Component>,
    vae: Option<Component>,
    text_encoder: Option<Component>,
    scheduler: Option<Component>,
    image_encoder: Option<Component>,
}

/// FastVideo's distilled models call theirs so.
const DMD_PIPELINE: &str = "WanDMDPipeline";
const PIPELINES: &[&str] = &["WanPipeline", "WanImageToVideoPipeline", DMD_PIPELINE];

impl ModelIndex {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "model_index.json";

    /// Reads the file and checks that the runtime has every class that it names.
    ///
    /// Fails with `FileInvalid` (no JSON, wrong types), `ArchitectureUnknown` (a class that is not supported, or none) or
    /// `ConfigUnsupported` (a second transformer, a boundary between two, an image encoder).
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let file = ConfigFile::new(path, json);
        let found: Document = file.parse()?;
        let pipeline = require(&file, "pipeline", found._class_name.as_deref(), PIPELINES)?;
        require(&file, "transformer", class(&found.transformer), &["WanTransformer3DModel"])?;
        require(&file, "vae", class(&found.vae), &["AutoencoderKLWan"])?;
        require(&file, "text_encoder", class(&found.text_encoder), &["UMT5EncoderModel"])?;
        let scheduler = require(&file, "scheduler", class(&found.scheduler), Solver::CLASSES)?;
        for (field, component) in
            [("transformer_2", &found.transformer_2), ("image_encoder", &found.image_encoder)]
        {
            if let Some(name) = class(component) {
                return Err(file.unsupported(field, "null", name));
            }
        }
        file.null("boundary_ratio", &found.boundary_ratio)?;
        let solver = match pipeline {
            DMD_PIPELINE => Solver::Dmd,
            _ => Solver::from_class(scheduler).ok_or_else(|| file.unknown(scheduler, Solver::CLASSES))?,
        };
        Ok(Self { expand_timesteps: found.expand_timesteps, solver })
    }
}

fn class(component: &Option<Component>) -> Option<&str> {
    component.as_ref()?.1.as_deref()
}

fn require<'a>(file: &ConfigFile, what: &str, found: Option<&'a str>, supported: &[&str]) -> Result<&'a str> {
    match found {
        Some(name) if supported.contains(&name) => Ok(name),
        Some(name) => Err(file.unknown(format_args!("{what} {name}"), supported)),
        None => Err(file.unknown(format_args!("no {what}"), supported)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, unsupported_field, with};
    use super::*;
    use serde_json::json;

    const PATH: &str = ModelIndex::PATH;

    #[test]
    fn shipped_model() {
        let found = ModelIndex::parse(PATH, &shipped(PATH)).unwrap();
        assert_eq!(found, ModelIndex { expand_timesteps: true, solver: Solver::UniPc });
    }

    #[test]
    fn unknown_classes() {
        for (field, value) in [
            ("_class_name", json!("FluxPipeline")),
            ("_class_name", json!(null)),
            ("transformer", json!(["diffusers", "WanVACETransformer3DModel"])),
            ("transformer", json!([null, null])),
            ("vae", json!(["diffusers", "AutoencoderKL"])),
            ("text_encoder", json!(["transformers", "T5EncoderModel"])),
            ("scheduler", json!(["diffusers", "DDIMScheduler"])),
        ] {
            let error = ModelIndex::parse(PATH, &with(PATH, field, value.clone())).unwrap_err();
            assert_eq!(error.code(), "architecture_unknown", "{field} {value}: {error}");
        }
    }

    #[test]
    fn two_transformers() {
        for (field, value) in [
            ("transformer_2", json!(["diffusers", "WanTransformer3DModel"])),
            ("image_encoder", json!(["transformers", "CLIPVisionModel"])),
            ("boundary_ratio", json!(0.875)),
        ] {
            assert_eq!(unsupported_field(ModelIndex::parse(PATH, &with(PATH, field, value))), field);
        }
    }

    #[test]
    fn not_json() {
        assert_eq!(ModelIndex::parse(PATH, b"<html>").unwrap_err().code(), "file_invalid");
        assert_eq!(ModelIndex::parse(PATH, b"[]").unwrap_err().code(), "file_invalid");
        let many = with(PATH, "boundary_ratio", json!(vec![0; crate::config::MAX_VALUES]));
        assert_eq!(ModelIndex::parse(PATH, &many).unwrap_err().code(), "file_invalid");
    }
}
