//! The JSON files of a model folder, as typed and validated structs: one file a subject.
//!
//! A field that diffusers knows and this runtime does not have is an [`Error::ConfigUnsupported`] when it is set; fields
//! that nobody knows are ignored. Sizes are bounded so that element counts of every weight fit 32 bits (bytes need u64)
//! and no later shape arithmetic can overflow.
//!
//! A component that comes without its file has it read off the names and shapes of its tensors (`inferred`): each config has an `infer` beside its
//! `parse`.

mod defaults;
mod inferred;
mod model_index;
pub mod published;
mod scheduler;
mod taehv;
mod text_encoder;
mod transformer;
mod vae;

pub use defaults::{GenerationDefaults, LatentRgb};
pub use model_index::ModelIndex;
pub use scheduler::{SchedulerConfig, Solver, UniPcBasis};
pub use taehv::TaehvConfig;
pub use text_encoder::Umt5Config;
pub use transformer::WanTransformerConfig;
pub use vae::WanVaeConfig;

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Most values of a config, or of a tokenizer's part. Files have some dozens, with a preview's matrix and the latents' statistics some hundreds;
/// as a tree a value takes 32 bytes or more, for the two of its text.
pub(crate) const MAX_VALUES: usize = 1 << 12;

/// At least as many as the values of a JSON text, before it is parsed.
pub(crate) fn values(json: &[u8]) -> usize {
    json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

/// One JSON file, to be read field by field; turns what it finds into errors that name the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigFile<'a> {
    path: &'a str,
    json: &'a [u8],
}

impl<'a> ConfigFile<'a> {
    pub(crate) fn new(path: &'a str, json: &'a [u8]) -> Self {
        Self { path, json }
    }

    /// The whole file as `T`; [`Error::FileInvalid`] if it is not JSON, a field has the wrong type, or it has more values than any.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let invalid = |reason| Error::FileInvalid { path: self.path.to_owned(), reason };
        if values(self.json) > MAX_VALUES {
            return Err(invalid(format!("it has more than {MAX_VALUES} values")));
        }
        serde_json::from_slice(self.json).map_err(|e| invalid(e.to_string()))
    }

    pub(crate) fn unsupported(&self, field: &str, expected: impl Display, found: impl Display) -> Error {
        Error::ConfigUnsupported {
            path: self.path.to_owned(),
            field: field.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(crate) fn within(&self, field: &str, value: usize, range: RangeInclusive<usize>) -> Result<()> {
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.unsupported(field, format_args!("{} to {}", range.start(), range.end()), value))
    }

    /// `value` finite and inside `range`.
    pub(crate) fn within_f64(&self, field: &str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.unsupported(field, format_args!("{} to {}", range.start(), range.end()), value))
    }

    /// A field that has to be absent or null.
    pub(crate) fn null(&self, field: &str, value: &Option<Value>) -> Result<()> {
        match value {
            None => Ok(()),
            Some(found) => Err(self.unsupported(field, "null", found)),
        }
    }

    pub(crate) fn multiple_of(&self, field: &str, value: usize, factor: usize) -> Result<()> {
        if value.is_multiple_of(factor) {
            return Ok(());
        }
        Err(self.unsupported(field, format_args!("a multiple of {factor}"), value))
    }

    /// A class name has to be one of `supported`; a file may leave it out.
    pub(crate) fn class(&self, found: Option<&str>, supported: &[&str]) -> Result<()> {
        match found {
            Some(name) if !supported.contains(&name) => Err(self.unknown(name, supported)),
            _ => Ok(()),
        }
    }

    pub(crate) fn unknown(&self, found: impl Display, supported: &[&str]) -> Error {
        Error::ArchitectureUnknown {
            path: self.path.to_owned(),
            found: found.to_string(),
            supported: supported.join(" or "),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// A file of the model that the repository ships.
    pub(crate) fn shipped(path: &str) -> Vec<u8> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/small");
        std::fs::read(format!("{root}/{path}")).expect("the shipped model is complete")
    }

    /// The file with one field set to another value, as JSON bytes.
    pub(crate) fn with(path: &str, field: &str, value: serde_json::Value) -> Vec<u8> {
        let mut document: serde_json::Value = serde_json::from_slice(&shipped(path)).expect("JSON");
        document[field] = value;
        serde_json::to_vec(&document).expect("JSON")
    }

    /// Which field an error complains about; panics on any other error.
    pub(crate) fn unsupported_field<T: std::fmt::Debug>(result: crate::Result<T>) -> String {
        match result {
            Err(crate::Error::ConfigUnsupported { field, .. }) => field,
            other => panic!("expected ConfigUnsupported, got {other:?}"),
        }
    }

    /// The tiny pipelines of the golden tests, both VAE flavours and both solvers among them.
    #[test]
    fn golden_pipelines() {
        use super::*;
        for case in ["wan21", "wan22", "odd", "head128"] {
            let root = format!("{}/../tests/golden/{case}/pipeline", env!("CARGO_MANIFEST_DIR"));
            let read = |path| std::fs::read(format!("{root}/{path}")).unwrap();
            let index = ModelIndex::parse(ModelIndex::PATH, &read(ModelIndex::PATH)).unwrap();
            let scheduler =
                SchedulerConfig::parse(SchedulerConfig::PATH, &read(SchedulerConfig::PATH)).unwrap();
            assert_eq!(scheduler.class, Some(index.solver), "{case}");
            let transformer =
                WanTransformerConfig::parse(WanTransformerConfig::PATH, &read(WanTransformerConfig::PATH))
                    .unwrap();
            let vae = WanVaeConfig::parse(WanVaeConfig::PATH, &read(WanVaeConfig::PATH)).unwrap();
            let text_encoder = Umt5Config::parse(Umt5Config::PATH, &read(Umt5Config::PATH)).unwrap();
            assert_eq!(transformer.in_channels, vae.z_dim, "{case}");
            assert_eq!(transformer.text_dim, text_encoder.d_model, "{case}");
        }
    }
}
