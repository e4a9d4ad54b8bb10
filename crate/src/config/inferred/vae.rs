//! The sizes of both of Wan's VAEs.

use super::Header;
use crate::config::{TaehvConfig, WanVaeConfig};
use crate::error::Result;
use crate::weights::{Component, ComponentKind};
use serde_json::json;

/// Means of the latents of Wan 2.2's VAE (`wan/modules/vae2_2.py`, and the vae/config.json of the diffusers folder).
const MEAN_2_2: [f64; 48] = [
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
];

/// Standard deviations beside [`MEAN_2_2`].
const STD_2_2: [f64; 48] = [
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885,
    0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338,
    0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458,
    1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
];

impl WanVaeConfig {
    /// The config of the autoencoder in `component`, with the vae/config.json beside it where there is one. A tiny autoencoder may lie
    /// beside the config of the VAE in whose place it is: its own tensors say what it is.
    ///
    /// Fails as [`WanVaeConfig::parse`] and [`WanVaeConfig::infer`] do.
    pub fn of(component: &Component, json: Option<&[u8]>) -> Result<Self> {
        match json {
            Some(json) if component.kind() != Some(ComponentKind::Taehv) => Self::parse(Self::PATH, json),
            _ => Self::infer(component),
        }
    }

    /// The config of an autoencoder that comes without one.
    ///
    /// Fails with `ArchitectureUnknown` (another model), `TensorMissing` or `ConfigUnsupported` (a size out of range, latents whose mean
    /// and deviation nothing tells).
    pub fn infer(component: &Component) -> Result<Self> {
        if component.kind() == Some(ComponentKind::Taehv) {
            let shapes = component.iter().map(|(key, location)| (key, location.shape.as_slice()));
            return Ok(TaehvConfig::from_shapes(component.file(), shapes)?.into());
        }
        let header = Header::of(component, ComponentKind::Vae)?;
        let [z, _, _, _, _] = header.shape("post_quant_conv.weight")?;
        let [base, in_channels, _, _, _] = header.shape("encoder.conv_in.weight")?;
        let [out_channels, _, _, _, _] = header.shape("decoder.conv_out.weight")?;
        let [last, _, _, _] = header.shape("decoder.norm_out.gamma")?;
        let stages = Stages::read(&header)?;
        let mult = |channels: usize| match channels % base {
            0 => Ok(channels / base),
            _ => Err(header.unknown(
                format!("a stage of {channels} channels in its encoder"),
                format!("multiples of the first {base}"),
            )),
        };
        let dim_mult = stages.channels.iter().map(|&channels| mult(channels)).collect::<Result<Vec<_>>>()?;
        // The decoder ends with the first multiple of a base of its own.
        let decoder_base = last / dim_mult.first().copied().unwrap_or(1).max(1);
        // A pixel's three channels times the area of a patch.
        let patch = (in_channels / 3).isqrt();
        let halvings = stages.temporal.iter().filter(|&&halves| halves).count();
        let scale = |base: usize, halvings: usize| base.checked_shl(halvings as u32).unwrap_or(usize::MAX);
        let mut fields = vec![
            ("z_dim", json!(z)),
            ("base_dim", json!(base)),
            ("decoder_base_dim", json!((decoder_base != base).then_some(decoder_base))),
            ("dim_mult", json!(dim_mult)),
            ("num_res_blocks", json!(stages.resnets)),
            ("scale_factor_spatial", json!(scale(patch, stages.temporal.len()))),
            ("scale_factor_temporal", json!(scale(1, halvings))),
            ("temperal_downsample", json!(stages.temporal)),
            ("is_residual", json!(stages.residual)),
            ("in_channels", json!(in_channels)),
            ("out_channels", json!(out_channels)),
            ("patch_size", json!((patch != 1).then_some(patch))),
        ];
        if z == MEAN_2_2.len() {
            fields.extend([("latents_mean", json!(MEAN_2_2[..])), ("latents_std", json!(STD_2_2[..]))]);
        } else if z != Self::default().z_dim && !header.stated().contains_key("latents_mean") {
            // Of 16 channels they are Wan 2.1's, the default.
            return Err(header.unsaid(
                "latents_mean",
                "the 16 channels of Wan 2.1 or the 48 of Wan 2.2",
                format!("not told by {z} channels"),
            ));
        }
        header.config(fields, Self::parse)
    }
}

/// What the encoder's parts say.
#[derive(Default)]
struct Stages {
    /// Channels of each stage.
    channels: Vec<usize>,
    /// Residual blocks of the first stage.
    resnets: usize,
    /// Whether the halving after each stage but the last halves the number of frames too.
    temporal: Vec<bool>,
    residual: bool,
}

impl Stages {
    fn read(header: &Header) -> Result<Self> {
        const BLOCKS: &str = "encoder.down_blocks";
        let residual = header.has(&format!("{BLOCKS}.0.resnets.0.conv1.weight"));
        let mut stages = Self { residual, ..Self::default() };
        for i in 0..header.count(&format!("{BLOCKS}.")) {
            let block = format!("{BLOCKS}.{i}");
            if residual {
                // All parts of a stage are under its number.
                stages.resnet(header, &format!("{block}.resnets.0"))?;
                if i == 0 {
                    stages.resnets = header.count(&format!("{block}.resnets."));
                }
                stages.halving(header, &format!("{block}.downsampler"));
            } else if !stages.halving(header, &block) {
                // Parts are numbered through: a stage begins after each halving.
                if stages.channels.len() == stages.temporal.len() {
                    stages.resnet(header, &block)?;
                }
                stages.resnets += usize::from(stages.channels.len() == 1);
            }
        }
        Ok(stages)
    }

    fn resnet(&mut self, header: &Header, name: &str) -> Result<()> {
        let [channels, _, _, _, _] = header.shape(&format!("{name}.conv1.weight"))?;
        self.channels.push(channels);
        Ok(())
    }

    fn halving(&mut self, header: &Header, name: &str) -> bool {
        let found = header.has(&format!("{name}.resample.1.weight"));
        if found {
            self.temporal.push(header.has(&format!("{name}.time_conv.weight")));
        }
        found
    }
}
