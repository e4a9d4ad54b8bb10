//! The sizes of a TAEHV, which comes without a config: its tensors' shapes say them.

use super::{ConfigFile, WanVaeConfig};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of a tiny autoencoder (`TAEHV.__init__` in `taehv.py`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaehvConfig {
    /// Latent channels.
    pub z_dim: usize,
    /// Side of the pixel square that is folded into channels; 1 is none.
    pub patch_size: usize,
    /// Channels of the encoder before and after each stage, which halves rows and columns.
    pub encoder_dims: [usize; 4],
    /// Frames that each stage of the encoder makes one of.
    pub temporal_pool: [usize; 3],
    /// Channels of the decoder before and after each stage, which doubles rows and columns.
    pub decoder_dims: [usize; 4],
    /// Frames that each stage of the decoder makes of one.
    pub temporal_grow: [usize; 3],
}

/// Widest layer, most frames of a stage and largest patch.
const MAX_CHANNELS: usize = 1024;
const MAX_FRAMES: usize = 4;
const MAX_PATCH: usize = 8;

/// Numbers of the stages' first layers.
const ENCODER_STAGES: [usize; 3] = [2, 7, 12];
const DECODER_STAGES: [usize; 3] = [3, 9, 15];

impl TaehvConfig {
    /// `taew2_1`, for Wan 2.1's latents.
    pub const WAN_2_1: Self = Self {
        z_dim: 16,
        patch_size: 1,
        encoder_dims: [64; 4],
        temporal_pool: [2, 2, 1],
        decoder_dims: [256, 128, 64, 64],
        temporal_grow: [1, 2, 2],
    };

    /// `taew2_2`, for the latents of Wan 2.2's 5B model.
    pub const WAN_2_2: Self = Self { z_dim: 48, patch_size: 2, ..Self::WAN_2_1 };

    /// The published model that can be in the place of this VAE, and its file; `None` where there is none, and in a tiny one's own place.
    pub fn in_place_of(vae: &WanVaeConfig) -> Option<(Self, &'static str)> {
        let published = [(Self::WAN_2_1, "taew2_1.safetensors"), (Self::WAN_2_2, "taew2_2.safetensors")];
        let latents = [vae.z_dim, vae.scale_factor_spatial, vae.scale_factor_temporal];
        let same =
            |tiny: &Self| latents == [tiny.z_dim, tiny.scale_factor_spatial(), tiny.scale_factor_temporal()];
        published.into_iter().find(|(tiny, _)| vae.tiny.is_none() && same(tiny))
    }

    /// The sizes by the tensors' shapes. `path` is what an error names.
    ///
    /// # Errors
    /// [`crate::Error::ConfigUnsupported`] for shapes that do not go together, and for layers that the known models do not have.
    pub fn from_shapes<'a>(
        path: &str,
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Self> {
        let tensors: BTreeMap<&str, &[usize]> = tensors.into_iter().collect();
        let file = ConfigFile::new(path, &[]);
        let size = |name: &str, axis: usize| {
            let shape = tensors.get(name).copied().unwrap_or_default();
            match shape {
                [_, _, _, _] if shape.iter().all(|extent| (1..=u32::MAX as usize).contains(extent)) => {
                    Ok(shape.get(axis).copied().unwrap_or(0))
                }
                _ => Err(file.unsupported(name, "the weight of a convolution", format_args!("{shape:?}"))),
            }
        };
        // The extent along `axis` in units of `unit`.
        let multiple = |name: &str, axis: usize, unit: usize, most: usize| {
            let found = size(name, axis)?;
            match found % unit.max(1) {
                0 if (1..=most).contains(&(found / unit.max(1))) => Ok(found / unit.max(1)),
                _ => Err(file.unsupported(name, format_args!("1 to {most} times {unit} channels"), found)),
            }
        };
        let outputs = |name: &str| multiple(name, 0, 1, MAX_CHANNELS);
        let patch = |name: &str, axis: usize| {
            let area = multiple(name, axis, 3, MAX_PATCH * MAX_PATCH)?;
            match (1..=MAX_PATCH).find(|side| side * side == area) {
                Some(side) => Ok(side),
                None => Err(file.unsupported(name, "3 channels a pixel of a square", 3 * area)),
            }
        };
        let encoder_dims = [
            outputs("encoder.0.weight")?,
            outputs("encoder.3.weight")?,
            outputs("encoder.8.weight")?,
            outputs("encoder.13.weight")?,
        ];
        let decoder_dims = [
            outputs("decoder.1.weight")?,
            outputs("decoder.8.weight")?,
            outputs("decoder.14.weight")?,
            outputs("decoder.20.weight")?,
        ];
        let frames = |name: &str, axis: usize, dim: usize| multiple(name, axis, dim, MAX_FRAMES);
        let found = Self {
            z_dim: multiple("decoder.1.weight", 1, 1, 512)?,
            patch_size: patch("decoder.22.weight", 0)?,
            temporal_pool: [
                frames("encoder.2.conv.weight", 1, encoder_dims[0])?,
                frames("encoder.7.conv.weight", 1, encoder_dims[1])?,
                frames("encoder.12.conv.weight", 1, encoder_dims[2])?,
            ],
            temporal_grow: [
                frames("decoder.7.conv.weight", 0, decoder_dims[0])?,
                frames("decoder.13.conv.weight", 0, decoder_dims[1])?,
                frames("decoder.19.conv.weight", 0, decoder_dims[2])?,
            ],
            encoder_dims,
            decoder_dims,
        };
        let pooled: usize = found.temporal_pool.iter().product();
        if pooled != found.scale_factor_temporal() {
            let expected = format!("{} frames a latent, as the decoder makes", found.scale_factor_temporal());
            return Err(file.unsupported("encoder", expected, pooled));
        }
        if patch("encoder.0.weight", 1)? != found.patch_size {
            let found = size("encoder.0.weight", 1)?;
            return Err(file.unsupported("encoder.0.weight", "as many channels as decoder.22 gives", found));
        }
        let known = names();
        // The scales of 8-bit floats are no layers.
        let scale = |key: &str| key.ends_with(".scale_weight") || key.ends_with(".weight_scale");
        let ours = |key: &str| (key.starts_with("encoder.") || key.starts_with("decoder.")) && !scale(key);
        match tensors.keys().find(|key| ours(key) && !known.contains(**key)) {
            Some(other) => Err(file.unsupported(other, "the layers of taew2_1 or taew2_2", "another layer")),
            None => Ok(found),
        }
    }

    /// Frames of a latent frame after the first.
    pub fn scale_factor_temporal(&self) -> usize {
        self.temporal_grow.iter().product()
    }

    /// Pixels of a latent's side.
    pub fn scale_factor_spatial(&self) -> usize {
        self.patch_size << self.temporal_grow.len()
    }

    /// Channels of a patch.
    pub fn channels(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// Of each stage of the encoder: its first layer's number, its channels before and after, the frames that it pools.
    pub fn encoder_stages(&self) -> impl Iterator<Item = (usize, [usize; 2], usize)> {
        stages(ENCODER_STAGES, &self.encoder_dims, &self.temporal_pool)
    }

    /// Of each stage of the decoder: its first layer's number, its channels before and after, the frames that it makes.
    pub fn decoder_stages(&self) -> impl Iterator<Item = (usize, [usize; 2], usize)> {
        stages(DECODER_STAGES, &self.decoder_dims, &self.temporal_grow)
    }
}

fn stages(
    firsts: [usize; 3],
    dims: &[usize; 4],
    frames: &[usize; 3],
) -> impl Iterator<Item = (usize, [usize; 2], usize)> {
    let pairs = dims.iter().zip(dims.iter().skip(1));
    firsts.into_iter().zip(pairs).zip(frames).map(|((first, (a, b)), frames)| (first, [*a, *b], *frames))
}

/// Every tensor of the known models.
fn names() -> BTreeSet<String> {
    let ends = ["encoder.0", "encoder.17", "decoder.1", "decoder.22"];
    let mut names: BTreeSet<String> =
        ends.iter().flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")]).collect();
    let encoder = ENCODER_STAGES.map(|first| ("encoder", first, first + 1, first + 2));
    let decoder = DECODER_STAGES.map(|first| ("decoder", first + 4, first + 5, first));
    for (part, frames, conv, first) in encoder.into_iter().chain(decoder) {
        names.extend([format!("{part}.{frames}.conv.weight"), format!("{part}.{conv}.weight")]);
        for (block, conv) in (first..first + 3).flat_map(|block| [0, 2, 4].map(|conv| (block, conv))) {
            names.extend(["weight", "bias"].map(|name| format!("{part}.{block}.conv.{conv}.{name}")));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shapes = BTreeMap<String, Vec<usize>>;

    /// As the model with this config has them.
    fn shapes(config: &TaehvConfig) -> Shapes {
        let block = |part: &str, first: usize, dim: usize| {
            (first..first + 3).flat_map(move |i| [(i, 0, 2 * dim), (i, 2, dim), (i, 4, dim)]).flat_map({
                let part = part.to_owned();
                move |(i, conv, inputs)| {
                    let name = format!("{part}.{i}.conv.{conv}");
                    [(format!("{name}.weight"), vec![dim, inputs, 3, 3]), (format!("{name}.bias"), vec![dim])]
                }
            })
        };
        let mut shapes = Shapes::new();
        for (layer, inputs, outputs) in [
            ("encoder.0", config.channels(), config.encoder_dims[0]),
            ("encoder.17", config.encoder_dims[3], config.z_dim),
            ("decoder.1", config.z_dim, config.decoder_dims[0]),
            ("decoder.22", config.decoder_dims[3], config.channels()),
        ] {
            shapes.insert(format!("{layer}.weight"), vec![outputs, inputs, 3, 3]);
            shapes.insert(format!("{layer}.bias"), vec![outputs]);
        }
        for (first, [inputs, outputs], frames) in config.encoder_stages() {
            shapes.insert(format!("encoder.{first}.conv.weight"), vec![inputs, frames * inputs, 1, 1]);
            shapes.insert(format!("encoder.{}.weight", first + 1), vec![outputs, inputs, 3, 3]);
            shapes.extend(block("encoder", first + 2, outputs));
        }
        for (first, [inputs, outputs], frames) in config.decoder_stages() {
            shapes.extend(block("decoder", first, inputs));
            shapes.insert(format!("decoder.{}.conv.weight", first + 4), vec![frames * inputs, inputs, 1, 1]);
            shapes.insert(format!("decoder.{}.weight", first + 5), vec![outputs, inputs, 3, 3]);
        }
        shapes
    }

    fn read(shapes: &Shapes) -> Result<TaehvConfig> {
        TaehvConfig::from_shapes("vae", shapes.iter().map(|(key, shape)| (key.as_str(), shape.as_slice())))
    }

    /// The published file of `taew2_2` has 11,418,108 parameters, 9,923,532 of them the decoder's.
    #[test]
    fn the_published_models_are_recognised() {
        for config in [TaehvConfig::WAN_2_1, TaehvConfig::WAN_2_2] {
            let shapes = shapes(&config);
            assert_eq!(shapes.keys().cloned().collect::<BTreeSet<_>>(), names());
            assert_eq!(read(&shapes), Ok(config));
        }
        let shapes = shapes(&TaehvConfig::WAN_2_2);
        let count = |part: &str| -> usize {
            let parts = shapes.iter().filter(|(key, _)| key.starts_with(part));
            parts.map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!((count(""), count("decoder")), (11_418_108, 9_923_532));
        assert_eq!(TaehvConfig::WAN_2_2.scale_factor_spatial(), 16);
        assert_eq!(TaehvConfig::WAN_2_2.scale_factor_temporal(), 4);
    }

    #[test]
    fn a_vae_has_the_tiny_one_of_its_latents() {
        let file = |vae: &WanVaeConfig| TaehvConfig::in_place_of(vae).map(|(_, file)| file);
        let mut vae = WanVaeConfig::default();
        assert_eq!(file(&vae), Some("taew2_1.safetensors"));
        (vae.z_dim, vae.scale_factor_spatial) = (48, 16);
        assert_eq!(file(&vae), Some("taew2_2.safetensors"));
        vae.scale_factor_spatial = 8;
        assert_eq!(file(&vae), None);
        assert_eq!(file(&TaehvConfig::WAN_2_1.into()), None);
    }

    #[test]
    fn shapes_that_do_not_go_together_are_named() {
        let good = shapes(&TaehvConfig::WAN_2_1);
        for (key, shape) in [
            ("decoder.1.weight", vec![256, 16, 3]),
            ("decoder.1.weight", vec![0, 16, 3, 3]),
            ("decoder.1.weight", vec![usize::MAX, 16, 3, 3]),
            ("decoder.13.conv.weight", vec![200, 128, 1, 1]),
            ("decoder.13.conv.weight", vec![128 * 5, 128, 1, 1]),
            ("decoder.22.weight", vec![6, 64, 3, 3]),
            ("encoder.0.weight", vec![64, 12, 3, 3]),
            // Wider or deeper than the models that are known.
            ("decoder.3.skip.weight", vec![256, 128, 1, 1]),
            ("decoder.3.conv.6.weight", vec![256, 256, 3, 3]),
            ("decoder.23.weight", vec![3, 3, 3, 3]),
            ("encoder.x", vec![1]),
        ] {
            let mut shapes = good.clone();
            shapes.insert(key.into(), shape);
            match read(&shapes) {
                Err(crate::Error::ConfigUnsupported { path, field, .. }) => {
                    assert_eq!((path.as_str(), field.as_str()), ("vae", key));
                }
                other => panic!("{key}: {other:?}"),
            }
        }
        let mut shapes = good.clone();
        shapes.remove("encoder.8.weight");
        assert_eq!(read(&shapes).unwrap_err().code(), "config_unsupported");
        // One frame fewer in the encoder than in the decoder.
        let mut shapes = good;
        shapes.insert("encoder.7.conv.weight".into(), vec![64, 64, 1, 1]);
        assert_eq!(read(&shapes).unwrap_err().code(), "config_unsupported");
    }
}
