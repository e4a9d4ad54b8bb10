//! `transformer/config.json`: the sizes of a `WanTransformer3DModel`.

use super::ConfigFile;
use crate::error::Result;
use serde::Deserialize;
use serde_json::Value;

/// Sizes of the Wan transformer; a field that the file leaves out has diffusers' default.
///
/// Source: diffusers `models/transformers/transformer_wan.py`, `WanTransformer3DModel.__init__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct WanTransformerConfig {
    /// Latent frames, rows and columns of a patch; the first is always 1.
    pub patch_size: [usize; 3],
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Channels of a head: a multiple of 4 up to 128.
    pub attention_head_dim: usize,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out; null in the file means as many as in.
    #[serde(rename = "out_channels")]
    given_out_channels: Option<usize>,
    /// Width of the prompt embedding.
    pub text_dim: usize,
    /// Width of the sinusoidal timestep embedding; even.
    pub freq_dim: usize,
    /// Hidden width of the feed-forward network.
    pub ffn_dim: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Whether the cross-attention's input is normalised (`norm2` has weights).
    pub cross_attn_norm: bool,
    /// Epsilon of every norm.
    pub eps: f64,
    /// Positions the rotary table has in each direction, in patches: an upper limit on a clip's size.
    pub rope_max_seq_len: usize,
    /// `rms_norm_across_heads` or null.
    qk_norm: Option<String>,
}

impl Default for WanTransformerConfig {
    fn default() -> Self {
        Self {
            patch_size: [1, 2, 2],
            num_attention_heads: 40,
            attention_head_dim: 128,
            in_channels: 16,
            given_out_channels: Some(16),
            text_dim: 4096,
            freq_dim: 256,
            ffn_dim: 13_824,
            num_layers: 40,
            cross_attn_norm: true,
            eps: 1e-6,
            rope_max_seq_len: 1024,
            qk_norm: Some(RMS_NORM_ACROSS_HEADS.to_owned()),
        }
    }
}

const RMS_NORM_ACROSS_HEADS: &str = "rms_norm_across_heads";

/// Fields that belong to models which are not supported (image conditioning by an encoder of its own).
#[derive(Deserialize)]
struct Unsupported {
    _class_name: Option<String>,
    added_kv_proj_dim: Option<Value>,
    image_dim: Option<Value>,
    pos_embed_seq_len: Option<Value>,
}

impl WanTransformerConfig {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "transformer/config.json";

    /// Channels of the residual stream: heads times channels of a head.
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Latent channels out.
    pub fn out_channels(&self) -> usize {
        // Python's `out_channels or in_channels`: 0 counts as missing.
        self.given_out_channels.filter(|&n| n > 0).unwrap_or(self.in_channels)
    }

    /// Whether queries and keys are RMS-normalised over all heads (`norm_q` and `norm_k` have weights).
    pub fn has_qk_norm(&self) -> bool {
        self.qk_norm.is_some()
    }

    /// Latent values in a patch of one channel.
    pub fn patch_volume(&self) -> usize {
        self.patch_size.iter().product()
    }

    /// How many of a head's channels carry the position along time, rows and columns; all even, their sum is
    /// `attention_head_dim`.
    pub fn rope_dims(&self) -> [usize; 3] {
        let side = 2 * (self.attention_head_dim / 6);
        [self.attention_head_dim - 2 * side, side, side]
    }

    /// Reads and checks the file.
    ///
    /// Fails with `FileInvalid` (no JSON, wrong types), `ArchitectureUnknown` (another class) or `ConfigUnsupported` (a
    /// size out of range, an image encoder's inputs).
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let file = ConfigFile::new(path, json);
        let others: Unsupported = file.parse()?;
        file.class(others._class_name.as_deref(), &["WanTransformer3DModel"])?;
        let found: Self = file.parse()?;

        file.null("added_kv_proj_dim", &others.added_kv_proj_dim)?;
        file.null("image_dim", &others.image_dim)?;
        file.null("pos_embed_seq_len", &others.pos_embed_seq_len)?;
        if let Some(norm) = found.qk_norm.as_deref().filter(|&norm| norm != RMS_NORM_ACROSS_HEADS) {
            let expected = format!("{RMS_NORM_ACROSS_HEADS} or null");
            return Err(file.unsupported("qk_norm", expected, norm));
        }

        let [frames, rows, columns] = found.patch_size;
        if frames != 1 || !(1..=8).contains(&rows) || !(1..=8).contains(&columns) {
            let expected = "one frame, and 1 to 8 rows and columns";
            return Err(file.unsupported("patch_size", expected, format!("{:?}", found.patch_size)));
        }
        file.within("attention_head_dim", found.attention_head_dim, 8..=128)?;
        file.multiple_of("attention_head_dim", found.attention_head_dim, 4)?;
        file.within("num_attention_heads", found.num_attention_heads, 1..=128)?;
        file.within("in_channels", found.in_channels, 1..=1024)?;
        file.within("out_channels", found.out_channels(), 1..=1024)?;
        file.within("text_dim", found.text_dim, 1..=16_384)?;
        file.within("freq_dim", found.freq_dim, 2..=4096)?;
        file.multiple_of("freq_dim", found.freq_dim, 2)?;
        file.within("ffn_dim", found.ffn_dim, 1..=65_536)?;
        file.within("num_layers", found.num_layers, 1..=256)?;
        file.within("rope_max_seq_len", found.rope_max_seq_len, 1..=65_536)?;
        file.within_f64("eps", found.eps, 1e-12..=0.1)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, unsupported_field, with};
    use super::*;
    use serde_json::json;

    const PATH: &str = WanTransformerConfig::PATH;

    #[test]
    fn shipped_model() {
        let found = WanTransformerConfig::parse(PATH, &shipped(PATH)).unwrap();
        assert_eq!((found.num_attention_heads, found.attention_head_dim, found.num_layers), (4, 48, 6));
        assert_eq!((found.in_channels, found.out_channels(), found.inner_dim()), (12, 12, 192));
        assert_eq!((found.text_dim, found.freq_dim, found.ffn_dim), (128, 128, 640));
        assert!(found.has_qk_norm() && found.cross_attn_norm);
    }

    #[test]
    fn diffusers_defaults() {
        let found = WanTransformerConfig::parse(PATH, b"{}").unwrap();
        assert_eq!(found, WanTransformerConfig::default());
        assert_eq!(found.inner_dim(), 5120);
        // The head of 128 that diffusers documents: 44 for time, 42 for rows and for columns.
        assert_eq!(found.rope_dims(), [44, 42, 42]);
    }

    #[test]
    fn null_is_a_value() {
        let found = WanTransformerConfig::parse(PATH, &with(PATH, "qk_norm", json!(null))).unwrap();
        assert!(!found.has_qk_norm());
        let found = WanTransformerConfig::parse(PATH, &with(PATH, "out_channels", json!(null))).unwrap();
        assert_eq!(found.out_channels(), 12);
    }

    #[test]
    fn unsupported_fields() {
        for (field, value) in [
            ("added_kv_proj_dim", json!(5120)),
            ("image_dim", json!(1280)),
            ("pos_embed_seq_len", json!(514)),
            ("qk_norm", json!("layer_norm")),
            ("patch_size", json!([2, 2, 2])),
            ("patch_size", json!([1, 0, 2])),
            ("attention_head_dim", json!(0)),
            ("attention_head_dim", json!(46)),
            ("attention_head_dim", json!(256)),
            ("num_attention_heads", json!(u64::MAX)),
            ("in_channels", json!(0)),
            ("ffn_dim", json!(1u64 << 40)),
            ("freq_dim", json!(127)),
            ("num_layers", json!(0)),
            ("rope_max_seq_len", json!(0)),
            ("eps", json!(0.0)),
        ] {
            let result = WanTransformerConfig::parse(PATH, &with(PATH, field, value));
            assert_eq!(unsupported_field(result), field);
        }
    }

    #[test]
    fn another_class() {
        let json = with(PATH, "_class_name", json!("WanVACETransformer3DModel"));
        assert_eq!(WanTransformerConfig::parse(PATH, &json).unwrap_err().code(), "architecture_unknown");
    }
}
