//! `vae/config.json`: the sizes of an `AutoencoderKLWan`, in both flavours.

use super::{ConfigFile, TaehvConfig};
use crate::error::Result;
use serde::Deserialize;

/// Sizes of the Wan VAE; a field that the file leaves out has diffusers' default.
///
/// Source: diffusers `models/autoencoders/autoencoder_kl_wan.py`, `AutoencoderKLWan.__init__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct WanVaeConfig {
    /// Channels of the encoder's first stage.
    pub base_dim: usize,
    /// Channels of the decoder's last stage; null in the file means `base_dim`.
    #[serde(rename = "decoder_base_dim")]
    given_decoder_base_dim: Option<usize>,
    /// Latent channels.
    pub z_dim: usize,
    /// Channels of each stage as multiples of the base; each stage but the last halves rows and columns.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of a stage; the decoder has one more.
    pub num_res_blocks: usize,
    /// Which of the downsamplings halve the number of frames too.
    pub temperal_downsample: Vec<bool>,
    /// Mean of each latent channel; what the transformer sees is `(z - mean) / std`.
    pub latents_mean: Vec<f64>,
    /// Standard deviation of each latent channel.
    pub latents_std: Vec<f64>,
    /// The 2.2 flavour: shortcuts around every down- and upsampling.
    pub is_residual: bool,
    /// Channels that the encoder is given: 3 times the patch's area.
    pub in_channels: usize,
    /// Channels that the decoder gives.
    pub out_channels: usize,
    /// Side of the pixel square that is folded into channels; null in the file means none.
    #[serde(rename = "patch_size")]
    given_patch_size: Option<usize>,
    /// Frames of a latent frame after the first.
    pub scale_factor_temporal: usize,
    /// Pixels of a latent's side.
    pub scale_factor_spatial: usize,
    attn_scales: Vec<f64>,
    /// Sizes of the tiny autoencoder that is in its place, if one is; the rest is then only what the pipeline asks of either:
    /// channels, scale factors and statistics of the latents.
    #[serde(skip)]
    pub tiny: Option<TaehvConfig>,
}

impl Default for WanVaeConfig {
    fn default() -> Self {
        Self {
            base_dim: 96,
            given_decoder_base_dim: None,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            temperal_downsample: vec![false, true, true],
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
                -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652,
                1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
            ],
            is_residual: false,
            in_channels: 3,
            out_channels: 3,
            given_patch_size: None,
            scale_factor_temporal: 4,
            scale_factor_spatial: 8,
            attn_scales: Vec::new(),
            tiny: None,
        }
    }
}

impl From<TaehvConfig> for WanVaeConfig {
    /// What a pipeline asks of the VAE's config. The latents are taken as they are.
    fn from(tiny: TaehvConfig) -> Self {
        Self {
            z_dim: tiny.z_dim,
            latents_mean: vec![0.0; tiny.z_dim],
            latents_std: vec![1.0; tiny.z_dim],
            in_channels: tiny.channels(),
            out_channels: tiny.channels(),
            scale_factor_temporal: tiny.scale_factor_temporal(),
            scale_factor_spatial: tiny.scale_factor_spatial(),
            tiny: Some(tiny),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct Class {
    _class_name: Option<String>,
}

/// Widest stage: the middle block's single attention head is as wide as its channels.
const MAX_CHANNELS: usize = 1024;

impl WanVaeConfig {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "vae/config.json";

    /// Channels of the decoder's last stage.
    pub fn decoder_base_dim(&self) -> usize {
        self.given_decoder_base_dim.unwrap_or(self.base_dim)
    }

    /// Side of the pixel square that is folded into channels; 1 is none.
    pub fn patch_size(&self) -> usize {
        self.given_patch_size.unwrap_or(1)
    }

    /// Which of the decoder's upsamplings double the number of frames too: the encoder's, backwards.
    pub fn temperal_upsample(&self) -> Vec<bool> {
        self.temperal_downsample.iter().rev().copied().collect()
    }

    /// Channels of the encoder before, between and after its stages: one more than there are stages.
    pub fn encoder_dims(&self) -> Vec<usize> {
        std::iter::once(1).chain(self.dim_mult.iter().copied()).map(|mult| self.base_dim * mult).collect()
    }

    /// Channels of the decoder before, between and after its stages: one more than there are stages.
    pub fn decoder_dims(&self) -> Vec<usize> {
        let last = self.dim_mult.last().copied();
        let mults = last.into_iter().chain(self.dim_mult.iter().rev().copied());
        mults.map(|mult| self.decoder_base_dim() * mult).collect()
    }

    /// Reads and checks the file.
    ///
    /// Fails with `FileInvalid` (no JSON, wrong types), `ArchitectureUnknown` (another class) or `ConfigUnsupported` (a
    /// size out of range, lists whose lengths do not go together, attention between the stages).
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let file = ConfigFile::new(path, json);
        let class: Class = file.parse()?;
        file.class(class._class_name.as_deref(), &["AutoencoderKLWan"])?;
        let found: Self = file.parse()?;
        found.check_stages(&file)?;
        found.check_latents(&file)?;
        found.check_scale(&file)?;
        if found.is_residual { found.check_shortcuts(&file) } else { found.check_halving(&file) }?;
        Ok(found)
    }

    fn check_stages(&self, file: &ConfigFile) -> Result<()> {
        file.within("base_dim", self.base_dim, 1..=MAX_CHANNELS)?;
        file.within("decoder_base_dim", self.decoder_base_dim(), 1..=MAX_CHANNELS)?;
        file.within("num_res_blocks", self.num_res_blocks, 1..=16)?;
        let stages = self.dim_mult.len();
        if !(1..=8).contains(&stages) {
            return Err(file.unsupported("dim_mult", "1 to 8 multipliers", stages));
        }
        let widest = MAX_CHANNELS / self.base_dim.max(self.decoder_base_dim());
        if let Some(&mult) = self.dim_mult.iter().find(|&mult| !(1..=widest).contains(mult)) {
            return Err(file.unsupported("dim_mult", format_args!("multipliers from 1 to {widest}"), mult));
        }
        if self.temperal_downsample.len() + 1 != stages {
            let expected = format!("{} values, one less than dim_mult", stages - 1);
            return Err(file.unsupported("temperal_downsample", expected, self.temperal_downsample.len()));
        }
        if !self.attn_scales.is_empty() {
            return Err(file.unsupported("attn_scales", "[]", format!("{:?}", self.attn_scales)));
        }
        Ok(())
    }

    fn check_latents(&self, file: &ConfigFile) -> Result<()> {
        file.within("z_dim", self.z_dim, 1..=512)?;
        for (field, values) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            if values.len() != self.z_dim {
                let expected = format!("{} values, as z_dim says", self.z_dim);
                return Err(file.unsupported(field, expected, values.len()));
            }
        }
        for &mean in &self.latents_mean {
            file.within_f64("latents_mean", mean, -1e6..=1e6)?;
        }
        for &std in &self.latents_std {
            file.within_f64("latents_std", std, 1e-6..=1e6)?;
        }
        Ok(())
    }

    /// Pixels and frames of a latent, as the stages make them.
    fn check_scale(&self, file: &ConfigFile) -> Result<()> {
        file.within("patch_size", self.patch_size(), 1..=8)?;
        let channels = 3 * self.patch_size() * self.patch_size();
        for (field, found) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if found != channels {
                return Err(file.unsupported(field, format_args!("{channels}, 3 a pixel of a patch"), found));
            }
        }
        let spatial = self.patch_size() << self.temperal_downsample.len();
        if self.scale_factor_spatial != spatial {
            let expected = format!("{spatial}, as dim_mult and patch_size make it");
            return Err(file.unsupported("scale_factor_spatial", expected, self.scale_factor_spatial));
        }
        let temporal = 1 << self.temperal_downsample.iter().filter(|&&halves| halves).count();
        if self.scale_factor_temporal != temporal {
            let expected = format!("{temporal}, as temperal_downsample makes it");
            return Err(file.unsupported("scale_factor_temporal", expected, self.scale_factor_temporal));
        }
        Ok(())
    }

    /// The 2.1 decoder's upsampling convolutions halve their channels.
    fn check_halving(&self, file: &ConfigFile) -> Result<()> {
        match self.dim_mult.iter().skip(1).map(|mult| mult * self.decoder_base_dim()).find(|dim| dim % 2 != 0)
        {
            Some(dim) => {
                Err(file.unsupported("dim_mult", "even decoder channels before each upsampling", dim))
            }
            None => Ok(()),
        }
    }

    /// The 2.2 shortcuts average or repeat whole groups of channels.
    fn check_shortcuts(&self, file: &ConfigFile) -> Result<()> {
        let divides = |dividend: usize, divisor: usize, direction: &str| {
            if dividend.is_multiple_of(divisor) {
                return Ok(());
            }
            let expected = format!("channels that a {direction} shortcut can group");
            Err(file.unsupported("dim_mult", expected, format_args!("{dividend} over {divisor}")))
        };
        let resampled = |halves: bool| if halves { 8 } else { 4 };
        let down = self.temperal_downsample.iter().map(|&halves| resampled(halves)).chain(std::iter::once(1));
        let encoder = self.encoder_dims();
        for ((before, after), factor) in encoder.iter().zip(encoder.iter().skip(1)).zip(down) {
            divides(before * factor, *after, "downsampling")?;
        }
        let up = self.temperal_downsample.iter().rev().map(|&halves| resampled(halves));
        let decoder = self.decoder_dims();
        for ((before, after), factor) in decoder.iter().zip(decoder.iter().skip(1)).zip(up) {
            divides(after * factor, *before, "upsampling")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, unsupported_field, with};
    use super::*;
    use serde_json::json;

    const PATH: &str = WanVaeConfig::PATH;

    #[test]
    fn shipped_model() {
        let found = WanVaeConfig::parse(PATH, &shipped(PATH)).unwrap();
        assert!(found.is_residual);
        assert_eq!((found.patch_size(), found.in_channels, found.z_dim), (2, 12, 12));
        assert_eq!(found.encoder_dims(), [24, 24, 48, 48]);
        assert_eq!(found.decoder_dims(), [64, 64, 64, 32]);
        assert_eq!((found.scale_factor_spatial, found.scale_factor_temporal), (8, 4));
    }

    #[test]
    fn diffusers_defaults() {
        // Wan 2.1's own config.json says no more than this.
        let found = WanVaeConfig::parse(PATH, br#"{"_class_name": "AutoencoderKLWan"}"#).unwrap();
        assert_eq!(found, WanVaeConfig::default());
        assert_eq!(found.decoder_dims(), [384, 384, 384, 192, 96]);
        assert_eq!(found.temperal_upsample(), [true, true, false]);
    }

    #[test]
    fn wan_2_2_is_within_limits() {
        let json = format!(
            r#"{{"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "is_residual": true,
                "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16,
                "temperal_downsample": [false, true, true], "latents_mean": {:?}, "latents_std": {:?}}}"#,
            [0.5; 48], [1.5; 48]
        );
        assert_eq!(WanVaeConfig::parse(PATH, json.as_bytes()).unwrap().decoder_dims()[0], 1024);
    }

    #[test]
    fn unsupported_fields() {
        for (field, value) in [
            ("base_dim", json!(0)),
            ("base_dim", json!(1u64 << 60)),
            ("decoder_base_dim", json!(0)),
            ("z_dim", json!(0)),
            ("dim_mult", json!([])),
            ("dim_mult", json!([1, 0, 2])),
            ("dim_mult", json!([1, 2, u64::MAX])),
            // 24 channels down to 72: eight times 24 are no whole groups of 120.
            ("dim_mult", json!([1, 5, 2])),
            ("num_res_blocks", json!(0)),
            ("attn_scales", json!([0.5])),
            ("temperal_downsample", json!([true])),
            ("latents_mean", json!([0.0])),
            ("latents_std", json!([1, 1, 1, 1, 1, 1, 1, 0])),
            ("in_channels", json!(3)),
            ("out_channels", json!(3)),
            ("patch_size", json!(0)),
            ("scale_factor_spatial", json!(16)),
            ("scale_factor_temporal", json!(0)),
        ] {
            let result = WanVaeConfig::parse(PATH, &with(PATH, field, value));
            assert_eq!(unsupported_field(result), field);
        }
    }

    #[test]
    fn odd_channels_cannot_be_halved() {
        let json = br#"{"base_dim": 3, "dim_mult": [1, 1, 2, 2]}"#;
        assert_eq!(unsupported_field(WanVaeConfig::parse(PATH, json)), "dim_mult");
        let json = br#"{"base_dim": 3, "dim_mult": [1, 2, 2, 2]}"#;
        assert!(WanVaeConfig::parse(PATH, json).is_ok());
    }

    #[test]
    fn another_class() {
        let error =
            WanVaeConfig::parse(PATH, &with(PATH, "_class_name", json!("AutoencoderKL"))).unwrap_err();
        assert_eq!(error.code(), "architecture_unknown");
    }
}
