//! The models of a pipeline and the weights they need, from configs and files, without a device.

use std::rc::Rc;

use super::autoencoder::{Decoder, Encoder};
use super::options::GenerateOptions;
use super::pieces::{FILES, Pieces};
use crate::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use crate::models::umt5::Umt5Encoder;
use crate::models::wan::WanTransformer;
use crate::tensor::{DType, Tensor};
use crate::text::OwnTokenizer;
use crate::weights::{Checkpoint, Scope, Source, TensorLocation, Weights};
use crate::{Error, Result};

/// Shapes of a clip, width divided by height.
const ASPECTS: std::ops::RangeInclusive<f64> = 0.05..=20.0;

/// The configs of a diffusers folder.
#[derive(Debug, Clone)]
pub struct Configs {
    /// `model_index.json`.
    pub index: ModelIndex,
    /// `transformer/config.json`.
    pub transformer: WanTransformerConfig,
    /// `text_encoder/config.json`.
    pub text_encoder: Umt5Config,
    /// `vae/config.json`, or what the tensors of a tiny autoencoder in its place say.
    pub vae: WanVaeConfig,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: SchedulerConfig,
    /// `kinetoscope.json`.
    pub defaults: GenerationDefaults,
}

impl Configs {
    /// Reads the configs of a folder. What is missing is read off the weights' headers, see [`crate::config`].
    ///
    /// # Errors
    /// What the source or a parser reports; [`Error::ComponentMissing`]; [`Error::ConfigUnsupported`] when the components do not go
    /// together.
    pub async fn read(source: &dyn Source) -> Result<Self> {
        Ok(Pieces::read(source).await?.configs)
    }

    /// Whether the components go together; `transformer` is the file that told the transformer's sizes.
    pub(super) fn check(&self, transformer: &str) -> Result<()> {
        let mismatch = |path: &str, field: &str, expected: String, found: usize| {
            let found = found.to_string();
            Err(Error::ConfigUnsupported { path: path.into(), field: field.into(), expected, found })
        };
        let (t, z) = (&self.transformer, self.vae.z_dim);
        let latents = format!("{z}, the channels of the VAE's latents");
        if t.in_channels != z {
            return mismatch(transformer, "in_channels", latents, t.in_channels);
        }
        if t.out_channels() != z {
            return mismatch(transformer, "out_channels", latents, t.out_channels());
        }
        let width = self.text_encoder.d_model;
        if t.text_dim != width {
            return mismatch(
                transformer,
                "text_dim",
                format!("{width}, the text encoder's width"),
                t.text_dim,
            );
        }
        let map = self.defaults.latent_rgb.as_ref();
        if let Some(found) = map.map(|map| map.weights.len()).filter(|found| *found != z) {
            return mismatch(GenerationDefaults::PATH, "latent_rgb.weights", latents, found);
        }
        Ok(())
    }

    /// Width and height that `options` ask for. A side that is not stated follows from the other by `aspect`; where neither is, the clip has as
    /// many pixels as the model's own, in sides that the model can make.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for an aspect of which no picture is.
    pub fn size(&self, options: &GenerateOptions) -> Result<[usize; 2]> {
        let GenerationDefaults { width, height, .. } = self.defaults;
        let Some(aspect) = options.aspect else {
            return Ok([options.width.unwrap_or(width), options.height.unwrap_or(height)]);
        };
        if !ASPECTS.contains(&aspect) {
            return Err(Error::OptionInvalid {
                option: "aspect".into(),
                expected: format!("width divided by height, {} to {}", ASPECTS.start(), ASPECTS.end()),
                found: aspect.to_string(),
            });
        }
        let multiple = self.size_multiple();
        let side = |length: f64| ((length / multiple as f64).round() as usize).max(1) * multiple;
        let pixels = (width * height) as f64;
        Ok(match (options.width, options.height) {
            (Some(width), Some(height)) => [width, height],
            (Some(width), None) => [width, side(width as f64 / aspect)],
            (None, Some(height)) => [side(height as f64 * aspect), height],
            (None, None) => [side((pixels * aspect).sqrt()), side((pixels / aspect).sqrt())],
        })
    }

    /// Pixels that width and height must be multiples of.
    pub fn size_multiple(&self) -> usize {
        let [_, ph, pw] = self.transformer.patch_size;
        self.vae.scale_factor_spatial * ph.max(pw)
    }
}

/// The models, their weights' places and names, and the constants that go with them.
#[derive(Debug)]
pub struct Architecture {
    /// Configs.
    pub configs: Configs,
    /// UMT5.
    pub text_encoder: Umt5Encoder,
    /// Diffusion transformer.
    pub transformer: WanTransformer,
    /// Latents to pixels.
    pub decoder: Decoder,
    /// Pixels to latents.
    pub encoder: Encoder,
    /// All weights that have to be loaded.
    pub weights: Rc<Weights>,
    /// The text encoder's embedding table `[vocab_size, d_model]`, read by rows; `None` without files.
    pub embedding: Option<TensorLocation>,
    /// The tokenizer in the text encoder's own file, for where there is no `tokenizer.json`.
    pub own_tokenizer: Option<OwnTokenizer>,
    /// Mean and standard deviation of the latents' channels, `[z]`.
    pub latent_statistics: [Tensor; 2],
}

impl Architecture {
    /// Reads configs and headers of a folder.
    ///
    /// # Errors
    /// What the source or a parser reports; a missing or misshapen tensor.
    pub async fn open(source: &dyn Source) -> Result<Self> {
        let mut pieces = Pieces::read(source).await?;
        let mut checkpoints = Vec::new();
        let mut own_tokenizer = None;
        for files in FILES {
            let component = pieces.component(source, files).await?;
            own_tokenizer = own_tokenizer.or_else(|| OwnTokenizer::of(&component));
            checkpoints.push(Rc::new(Checkpoint::Files(component)));
        }
        Ok(Self { own_tokenizer, ..Self::build(pieces.configs, checkpoints)? })
    }

    /// The same models from configs alone, their matrices in 16 bits: for planning.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the configs contradict themselves.
    pub fn assumed(configs: Configs) -> Result<Self> {
        configs.check(WanTransformerConfig::PATH)?;
        let checkpoint = |(folder, _): &(&str, &[&str])| {
            Rc::new(Checkpoint::Assumed { folder: (*folder).into(), dtype: DType::F16 })
        };
        Self::build(configs, FILES.iter().map(checkpoint).collect())
    }

    fn build(configs: Configs, checkpoints: Vec<Rc<Checkpoint>>) -> Result<Self> {
        let weights = Weights::new();
        let mut roots = checkpoints.into_iter().map(|c| Scope::new(c, weights.clone()));
        let mut root = || {
            roots.next().ok_or(Error::WrongState { call: "load", reason: "a component is missing".into() })
        };
        let (text, transformer, vae) = (root()?, root()?, root()?);
        let z = configs.vae.z_dim;
        let statistic = || Tensor::resident(DType::F32, &[z]);
        Ok(Self {
            text_encoder: Umt5Encoder::new(&text, &configs.text_encoder)?,
            transformer: WanTransformer::new(&transformer, &configs.transformer)?,
            decoder: Decoder::new(&vae, &configs.vae)?,
            encoder: Encoder::new(&vae, &configs.vae)?,
            embedding: embedding(&text, &configs.text_encoder)?,
            own_tokenizer: None,
            latent_statistics: [statistic(), statistic()],
            weights,
            configs,
        })
    }
}

pub(super) fn embedding(scope: &Scope, config: &Umt5Config) -> Result<Option<TensorLocation>> {
    let [first, second] = Umt5Encoder::EMBEDDING_KEYS;
    let shape = [config.vocab_size, config.d_model];
    match scope.table(first, &shape) {
        Err(Error::TensorMissing { .. }) => scope.table(second, &shape),
        found => found,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::weights::source::FolderSource;

    /// Of the model that the repository ships.
    pub(in super::super) fn shipped_configs() -> Configs {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/small");
        pollster::block_on(Configs::read(&FolderSource::new(root))).expect("the shipped model is complete")
    }

    #[test]
    fn a_shape_becomes_a_size() {
        let size = |width, height, aspect: f64| {
            shipped_configs().size(&GenerateOptions {
                width,
                height,
                aspect: Some(aspect),
                ..Default::default()
            })
        };
        assert_eq!(size(None, None, 16.0 / 9.0).unwrap(), [80, 48]);
        assert_eq!(size(None, None, 0.05).unwrap(), [16, 288]);
        assert_eq!(size(Some(96), None, 1.5).unwrap(), [96, 64]);
        assert_eq!(size(None, Some(32), 3.0).unwrap(), [96, 32]);
        for aspect in [0.0, -1.0, f64::NAN, f64::INFINITY, 21.0] {
            assert_eq!(size(None, None, aspect).unwrap_err().code(), "option_invalid");
        }
    }
}
