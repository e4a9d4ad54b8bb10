//! What a component's files hold, and whether they can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::architecture::embedding;
use super::autoencoder::{Decoder, Encoder};
use crate::config::{TaehvConfig, Umt5Config, WanTransformerConfig, WanVaeConfig};
use crate::models::umt5::Umt5Encoder;
use crate::models::wan::WanTransformer;
use crate::text::{OwnTokenizer, SpieceTokenizer};
use crate::weights::{
    Checkpoint, Component, ComponentKind, Metadata, Naming, Scope, TensorLocation, Weights,
};
use crate::{Error, Result};
use serde::{Serialize, Serializer};

/// What a component is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Its file, or the index of its parts.
    pub file: String,
    /// What its tensors are stored in, such as `GGUF 3`.
    pub container: String,
    /// Which part of a pipeline it is.
    pub kind: Option<ComponentKind>,
    /// Whose names its tensors have.
    pub naming: Naming,
    /// The published model that it has the sizes of.
    pub model: Option<&'static str>,
    /// Its sizes under their names in a config.json, in the order to show them.
    #[serde(serialize_with = "map")]
    pub sizes: Vec<(&'static str, usize)>,
    /// Number of its tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Tensors and bytes by number format.
    pub formats: BTreeMap<String, FormatShare>,
    /// What the file says of itself.
    pub metadata: Metadata,
    /// Whether it brings a tokenizer.
    pub tokenizer: bool,
    /// Tensors that the model does not ask for.
    pub unused: Vec<String>,
    /// Why it cannot be run.
    pub refusal: Option<Refusal>,
}

/// How much of a component is in one number format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FormatShare {
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes in the file.
    pub bytes: u64,
}

/// Why something cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable name of the error.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

fn map<S: Serializer>(
    pairs: &[(&'static str, usize)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// What the tensors are checked against.
struct Sizes {
    model: Option<&'static str>,
    sizes: Vec<(&'static str, usize)>,
    config: Config,
}

enum Config {
    Transformer(WanTransformerConfig),
    TextEncoder(Umt5Config),
    Vae(Box<WanVaeConfig>),
}

impl Inspection {
    /// Of a component with this config.json, or with none.
    pub fn new(component: &Component, config: Option<&[u8]>) -> Self {
        let mut formats: BTreeMap<String, FormatShare> = BTreeMap::new();
        let mut parameters = 0u64;
        for (_, location) in component.iter() {
            let share = formats.entry(location.dtype.name().to_owned()).or_default();
            share.tensors += 1;
            share.bytes += location.range.end.saturating_sub(location.range.start);
            let elements = location.shape.iter().fold(1u64, |n, &extent| n.saturating_mul(extent as u64));
            parameters = parameters.saturating_add(elements);
        }
        let mut found = Self {
            file: component.file().to_owned(),
            container: component.container().to_string(),
            kind: component.kind(),
            naming: component.naming(),
            model: None,
            sizes: Vec::new(),
            tensors: component.keys().count(),
            parameters,
            bytes: formats.values().map(|share| share.bytes).sum(),
            formats,
            metadata: component.metadata().clone(),
            tokenizer: OwnTokenizer::of(component).is_some(),
            unused: Vec::new(),
            refusal: None,
        };
        if let Err(error) = found.check(component, config) {
            found.refusal = Some(Refusal::from(&error));
        }
        found
    }

    fn check(&mut self, component: &Component, config: Option<&[u8]>) -> Result<()> {
        let Sizes { model, sizes, config } = sizes(component, config)?;
        (self.model, self.sizes) = (model, sizes);
        let weights = Weights::new();
        let scope = Scope::new(Rc::new(Checkpoint::Files(component.clone())), weights.clone());
        let table = match &config {
            Config::Transformer(config) => {
                WanTransformer::new(&scope, config)?;
                None
            }
            Config::TextEncoder(config) => {
                Umt5Encoder::new(&scope, config)?;
                embedding(&scope, config)?
            }
            Config::Vae(config) => {
                Encoder::new(&scope, config)?;
                Decoder::new(&scope, config)?;
                None
            }
        };
        let specs = weights.specs();
        let place = |location: &TensorLocation| (location.path.clone(), location.range.start);
        let used = specs
            .iter()
            .flat_map(|spec| [spec.location.as_ref(), spec.scale.as_ref()])
            .flatten()
            .chain(&table);
        let used: BTreeSet<_> = used.map(place).collect();
        let unused = component.iter().filter(|(key, location)| {
            // One of two names of the same table; the tokenizer.
            let needed = Umt5Encoder::EMBEDDING_KEYS.contains(key) || *key == SpieceTokenizer::TENSOR;
            !used.contains(&place(location)) && !needed
        });
        self.unused = unused.map(|(key, _)| key.to_owned()).collect();
        Ok(())
    }
}

fn sizes(component: &Component, config: Option<&[u8]>) -> Result<Sizes> {
    let unknown = |found: &str| Error::ArchitectureUnknown {
        path: component.file().to_owned(),
        found: found.to_owned(),
        supported: "a Wan transformer, a UMT5 encoder, a Wan VAE or a TAEHV for its latents".to_owned(),
    };
    match component.kind() {
        Some(ComponentKind::Transformer) => {
            let config = match config {
                Some(json) => WanTransformerConfig::parse(WanTransformerConfig::PATH, json)?,
                None => WanTransformerConfig::infer(component)?,
            };
            let model = match (config.inner_dim(), config.num_layers, config.in_channels) {
                (1536, 30, 16) => Some("Wan 2.1 1.3B, or made from it"),
                (5120, 40, 16) => Some("Wan 2.1 14B, one of Wan 2.2 A14B's two, or made from them"),
                (3072, 30, 48) => Some("Wan 2.2 TI2V 5B, or made from it"),
                _ => None,
            };
            let sizes = vec![
                ("num_layers", config.num_layers),
                ("num_attention_heads", config.num_attention_heads),
                ("attention_head_dim", config.attention_head_dim),
                ("ffn_dim", config.ffn_dim),
                ("in_channels", config.in_channels),
                ("text_dim", config.text_dim),
            ];
            Ok(Sizes { model, sizes, config: Config::Transformer(config) })
        }
        Some(ComponentKind::TextEncoder) => {
            let config = match config {
                Some(json) => Umt5Config::parse(Umt5Config::PATH, json)?,
                None => Umt5Config::infer(component)?,
            };
            let xxl = (config.d_model, config.num_layers, config.vocab_size) == (4096, 24, 256_384);
            let sizes = vec![
                ("num_layers", config.num_layers),
                ("d_model", config.d_model),
                ("num_heads", config.num_heads),
                ("d_kv", config.d_kv),
                ("d_ff", config.d_ff),
                ("vocab_size", config.vocab_size),
            ];
            Ok(Sizes { model: xxl.then_some("UMT5-XXL"), sizes, config: Config::TextEncoder(config) })
        }
        Some(ComponentKind::Vae) => {
            let config = WanVaeConfig::of(component, config)?;
            let model = match (config.base_dim, config.z_dim, config.is_residual) {
                (96, 16, false) => Some("Wan 2.1's VAE"),
                (160, 48, true) => Some("Wan 2.2's VAE"),
                _ => None,
            };
            let sizes = vec![
                ("z_dim", config.z_dim),
                ("scale_factor_spatial", config.scale_factor_spatial),
                ("scale_factor_temporal", config.scale_factor_temporal),
                ("base_dim", config.base_dim),
                ("decoder_base_dim", config.decoder_base_dim()),
            ];
            Ok(Sizes { model, sizes, config: Config::Vae(Box::new(config)) })
        }
        Some(ComponentKind::Taehv) => {
            let config = WanVaeConfig::infer(component)?;
            let model = match &config.tiny {
                Some(tiny) if *tiny == TaehvConfig::WAN_2_1 => Some("taew2_1"),
                Some(tiny) if *tiny == TaehvConfig::WAN_2_2 => Some("taew2_2"),
                _ => None,
            };
            let sizes = vec![
                ("z_dim", config.z_dim),
                ("scale_factor_spatial", config.scale_factor_spatial),
                ("scale_factor_temporal", config.scale_factor_temporal),
            ];
            Ok(Sizes { model, sizes, config: Config::Vae(Box::new(config)) })
        }
        None => Err(unknown("tensors of no model that is known")),
    }
}
