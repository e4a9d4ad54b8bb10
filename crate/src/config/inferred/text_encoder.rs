//! UMT5's sizes.

use super::Header;
use crate::config::Umt5Config;
use crate::error::Result;
use crate::weights::{Component, ComponentKind};
use serde_json::json;

impl Umt5Config {
    /// The config of a text encoder that comes without one.
    ///
    /// Fails with `ArchitectureUnknown` (another model), `TensorMissing` or `ConfigUnsupported` (a size out of range).
    pub fn infer(component: &Component) -> Result<Self> {
        let header = Header::of(component, ComponentKind::TextEncoder)?;
        // Transformers ties them; a file may have either name.
        let tied = "encoder.embed_tokens.weight";
        let [vocab_size, d_model] = header.shape(if header.has(tied) { tied } else { "shared.weight" })?;
        const LAYER: &str = "encoder.block.0.layer";
        let [inner, _] = header.shape(&format!("{LAYER}.0.SelfAttention.q.weight"))?;
        let [buckets, heads] =
            header.shape(&format!("{LAYER}.0.SelfAttention.relative_attention_bias.weight"))?;
        let [d_ff, _] = header.shape(&format!("{LAYER}.1.DenseReluDense.wi_0.weight"))?;
        let mut fields = vec![
            ("vocab_size", json!(vocab_size)),
            ("d_model", json!(d_model)),
            ("d_kv", json!(inner / heads)),
            ("d_ff", json!(d_ff)),
            ("num_layers", json!(header.count("encoder.block."))),
            ("num_heads", json!(heads)),
            ("relative_attention_num_buckets", json!(buckets)),
        ];
        if let Some(epsilon) = header.ggml_float("attention.layer_norm_rms_epsilon") {
            fields.push(("layer_norm_epsilon", json!(epsilon)));
        }
        header.config(fields, Self::parse)
    }
}
