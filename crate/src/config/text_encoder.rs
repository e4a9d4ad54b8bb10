//! `text_encoder/config.json`: the sizes of a UMT5 encoder.

use super::ConfigFile;
use crate::error::Result;
use serde::Deserialize;

/// Sizes of the UMT5 encoder; a field that the file leaves out has transformers' default.
///
/// Source: transformers `models/umt5/configuration_umt5.py`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Umt5Config {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Channels of the residual stream.
    pub d_model: usize,
    /// Channels of a head: a multiple of 4 up to 128. Heads times this need not be `d_model`.
    pub d_kv: usize,
    /// Hidden width of the gated feed-forward network.
    pub d_ff: usize,
    /// Encoder blocks.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Buckets of the relative position bias, half for each direction.
    pub relative_attention_num_buckets: usize,
    /// Distance in tokens from which all positions share a bucket.
    pub relative_attention_max_distance: usize,
    /// Epsilon of every RMS norm.
    pub layer_norm_epsilon: f64,
}

impl Default for Umt5Config {
    fn default() -> Self {
        Self {
            vocab_size: 250_112,
            d_model: 512,
            d_kv: 64,
            d_ff: 1024,
            num_layers: 8,
            num_heads: 6,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
        }
    }
}

#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
    feed_forward_proj: Option<String>,
}

impl Umt5Config {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "text_encoder/config.json";

    /// Channels of all heads together.
    pub fn inner_dim(&self) -> usize {
        self.num_heads * self.d_kv
    }

    /// Reads and checks the file.
    ///
    /// Fails with `FileInvalid` (no JSON, wrong types), `ArchitectureUnknown` (another model type) or `ConfigUnsupported`
    /// (a size out of range, another activation than the gated GELU).
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let file = ConfigFile::new(path, json);
        let kind: Kind = file.parse()?;
        file.class(kind.model_type.as_deref(), &["umt5"])?;
        if let Some(found) = kind.feed_forward_proj.filter(|name| name != "gated-gelu") {
            return Err(file.unsupported("feed_forward_proj", "gated-gelu", found));
        }

        let found: Self = file.parse()?;
        file.within("vocab_size", found.vocab_size, 1..=1 << 20)?;
        file.within("d_model", found.d_model, 1..=16_384)?;
        if found.vocab_size as u64 * found.d_model as u64 > u64::from(u32::MAX) {
            let expected = format!("at most {} for this vocabulary", u32::MAX as usize / found.vocab_size);
            return Err(file.unsupported("d_model", expected, found.d_model));
        }
        file.within("d_kv", found.d_kv, 4..=128)?;
        file.multiple_of("d_kv", found.d_kv, 4)?;
        file.within("num_heads", found.num_heads, 1..=256)?;
        file.within("d_ff", found.d_ff, 1..=65_536)?;
        file.within("num_layers", found.num_layers, 1..=256)?;
        file.within("relative_attention_num_buckets", found.relative_attention_num_buckets, 4..=4096)?;
        file.multiple_of("relative_attention_num_buckets", found.relative_attention_num_buckets, 4)?;
        // Beyond the exact quarter the buckets widen as log(distance / exact) / log(max_distance / exact).
        let exact = found.relative_attention_num_buckets / 4;
        let distance = found.relative_attention_max_distance;
        file.within("relative_attention_max_distance", distance, exact + 1..=1 << 20)?;
        file.within_f64("layer_norm_epsilon", found.layer_norm_epsilon, 1e-12..=0.1)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, unsupported_field, with};
    use super::*;
    use serde_json::json;

    const PATH: &str = Umt5Config::PATH;

    #[test]
    fn shipped_model() {
        let found = Umt5Config::parse(PATH, &shipped(PATH)).unwrap();
        assert_eq!((found.vocab_size, found.d_model, found.d_kv, found.d_ff), (288, 128, 32, 320));
        assert_eq!((found.num_layers, found.num_heads, found.inner_dim()), (2, 4, 128));
        assert_eq!(found.relative_attention_max_distance, 64);
    }

    #[test]
    fn xxl_is_within_limits() {
        let json =
            br#"{"model_type": "umt5", "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240,
            "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}"#;
        assert_eq!(Umt5Config::parse(PATH, json).unwrap().inner_dim(), 4096);
    }

    #[test]
    fn unsupported_fields() {
        for (field, value) in [
            ("feed_forward_proj", json!("relu")),
            ("vocab_size", json!(0)),
            ("d_model", json!(1u64 << 50)),
            ("d_kv", json!(30)),
            ("d_ff", json!(0)),
            ("num_layers", json!(0)),
            ("num_heads", json!(0)),
            ("relative_attention_num_buckets", json!(6)),
            ("relative_attention_max_distance", json!(8)),
            ("layer_norm_epsilon", json!(-1e-6)),
        ] {
            assert_eq!(unsupported_field(Umt5Config::parse(PATH, &with(PATH, field, value))), field);
        }
        let json = br#"{"vocab_size": 1048576, "d_model": 16384}"#;
        assert_eq!(unsupported_field(Umt5Config::parse(PATH, json)), "d_model");
    }

    #[test]
    fn another_model() {
        let error = Umt5Config::parse(PATH, &with(PATH, "model_type", json!("t5"))).unwrap_err();
        assert_eq!(error.code(), "architecture_unknown");
    }
}
