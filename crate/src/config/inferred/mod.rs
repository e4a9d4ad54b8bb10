//! Configs of components that come without one: read off the names and shapes of their tensors.
//!
//! What shapes do not say (epsilons, the rotary table's length, the statistics of the latents, how wide a head is) is that of the published
//! models, unless the file's own metadata says it: `config`, the component's config.json as text (what LTX-Video's files have, and
//! diffusers reads), or ggml's keys such as `wan.attention.key_length`. The result goes through the same checks as a config.json.

mod pipeline;
mod text_encoder;
mod transformer;
mod vae;

use crate::error::{Error, Result};
use crate::weights::{Component, ComponentKind};
use serde_json::{Map, Value};

/// What a component's header says.
struct Header<'a> {
    component: &'a Component,
}

impl<'a> Header<'a> {
    /// Of a component that has to be of this kind.
    ///
    /// Fails with `ArchitectureUnknown`.
    fn of(component: &'a Component, expected: ComponentKind) -> Result<Self> {
        let header = Self { component };
        match component.kind() {
            Some(kind) if kind == expected => Ok(header),
            Some(kind) => Err(header.unknown(kind.describe(), expected.describe())),
            None => Err(header.unknown("tensors of no model that is known", expected.describe())),
        }
    }

    fn unknown(&self, found: impl Into<String>, supported: impl Into<String>) -> Error {
        let path = self.component.file().to_owned();
        Error::ArchitectureUnknown { path, found: found.into(), supported: supported.into() }
    }

    /// A field that nothing says, with what would.
    fn unsaid(&self, field: &str, expected: &str, found: impl Into<String>) -> Error {
        Error::ConfigUnsupported {
            path: self.component.file().to_owned(),
            field: field.to_owned(),
            expected: format!("{expected}, or a config.json that says it"),
            found: found.into(),
        }
    }

    fn has(&self, key: &str) -> bool {
        self.component.shape(key).is_some()
    }

    /// The shape of a tensor that every model of this kind has.
    ///
    /// Fails with `TensorMissing`, and with `ArchitectureUnknown` for another number of dimensions or an empty tensor.
    fn shape<const N: usize>(&self, key: &str) -> Result<[usize; N]> {
        let found = self.component.find(key)?.shape.as_slice();
        match found.try_into() {
            Ok(shape) if !found.contains(&0) => Ok(shape),
            _ => {
                let found = format!("the tensor {key} of the shape {found:?}");
                Err(self.unknown(found, format!("one of {N} dimensions there")))
            }
        }
    }

    /// One more than the highest number that follows `prefix` in a name; 0 where none does. Never more than there are tensors.
    fn count(&self, prefix: &str) -> usize {
        let numbers = self.component.keys().filter_map(|key| {
            let (number, _) = key.strip_prefix(prefix)?.split_once('.')?;
            number.parse::<usize>().ok()
        });
        numbers.max().map_or(0, |highest| highest.saturating_add(1)).min(self.component.keys().count())
    }

    /// A whole number under ggml's key `<architecture>.<name>`.
    fn ggml_size(&self, name: &str) -> Option<usize> {
        let metadata = self.component.metadata();
        metadata.size(&format!("{}.{name}", metadata.text("general.architecture")?))
    }

    /// A float under ggml's key `<architecture>.<name>`.
    fn ggml_float(&self, name: &str) -> Option<f64> {
        let metadata = self.component.metadata();
        metadata.float(&format!("{}.{name}", metadata.text("general.architecture")?))
    }

    /// What the file's own config says: as a config.json, or as one of several by the components' names.
    fn stated(&self) -> Map<String, Value> {
        let config =
            self.component.metadata().text("config").and_then(|text| serde_json::from_str(text).ok());
        let Some(Value::Object(mut config)) = config else { return Map::new() };
        match config.remove(self.component.folder()) {
            Some(Value::Object(own)) => own,
            _ if config.contains_key("_class_name") || config.contains_key("model_type") => config,
            _ => Map::new(),
        }
    }

    /// A config from what shapes say and what the file states, which wins.
    fn config<T>(
        &self,
        inferred: impl IntoIterator<Item = (&'static str, Value)>,
        parse: fn(&str, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let mut fields: Map<String, Value> =
            inferred.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        fields.extend(self.stated());
        parse(self.component.file(), Value::Object(fields).to_string().as_bytes())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
