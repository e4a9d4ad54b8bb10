//! The pieces that a pipeline is put together from, wherever they come from: configs where there are any, headers of weights.

use super::architecture::Configs;
use crate::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Solver, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use crate::text::{OwnTokenizer, TextTokenizer};
use crate::weights::source::{exists, read_all};
use crate::weights::{Component, Source};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Longest config file that is read.
const CONFIG_BYTES: u64 = 1 << 20;

/// Where a component's weights lie and how their files may be called.
pub const FILES: [(&str, &[&str]); 3] = [
    ("text_encoder", &["model", "diffusion_pytorch_model"]),
    ("transformer", &["diffusion_pytorch_model", "model"]),
    ("vae", &["diffusion_pytorch_model", "model"]),
];

/// Configs, and the components whose headers had to be read for them.
pub(super) struct Pieces {
    pub configs: Configs,
    opened: BTreeMap<&'static str, Component>,
}

impl Pieces {
    /// Reads configs; what has none is told by its tensors.
    ///
    /// # Errors
    /// What the source or a parser reports; [`Error::ComponentMissing`] with all that is missing where single files make up the pipeline;
    /// [`Error::ConfigUnsupported`] when the components do not go together.
    pub async fn read(source: &dyn Source) -> Result<Self> {
        let index = match config(source, ModelIndex::PATH).await? {
            Some(json) => Some(ModelIndex::parse(ModelIndex::PATH, &json)?),
            None => None,
        };
        let mut opened = BTreeMap::new();
        if index.is_none() {
            opened = all_components(source).await?;
        }
        let [text_encoder_files, transformer_files, vae_files] = FILES;
        let (transformer, told_by) = match config(source, WanTransformerConfig::PATH).await? {
            Some(json) => {
                let path = WanTransformerConfig::PATH;
                (WanTransformerConfig::parse(path, &json)?, path.to_owned())
            }
            None => {
                let component = open(source, transformer_files, &mut opened).await?;
                (WanTransformerConfig::infer(component)?, component.file().to_owned())
            }
        };
        let text_encoder = match config(source, Umt5Config::PATH).await? {
            Some(json) => Umt5Config::parse(Umt5Config::PATH, &json)?,
            None => Umt5Config::infer(open(source, text_encoder_files, &mut opened).await?)?,
        };
        let vae_config = config(source, WanVaeConfig::PATH).await?;
        let vae = match (open(source, vae_files, &mut opened).await, &vae_config) {
            (Ok(component), json) => WanVaeConfig::of(component, json.as_deref())?,
            // Configs alone are enough to plan by.
            (Err(Error::FileMissing { .. }), Some(json)) => WanVaeConfig::parse(WanVaeConfig::PATH, json)?,
            (Err(error), _) => return Err(error),
        };
        let scheduler = match config(source, SchedulerConfig::PATH).await? {
            Some(json) => SchedulerConfig::parse(SchedulerConfig::PATH, &json)?,
            None => SchedulerConfig::infer(&transformer),
        };
        let defaults = match config(source, GenerationDefaults::PATH).await? {
            Some(json) => GenerationDefaults::parse(GenerationDefaults::PATH, &json)?,
            None if index.is_some_and(|index| index.solver == Solver::Dmd) => GenerationDefaults::distilled(),
            None if index.is_some() => GenerationDefaults::default(),
            None => GenerationDefaults::infer(&transformer),
        };
        let inferred = ModelIndex::infer(&transformer);
        let index = match index {
            // A transformer in the place of a folder's own may be of another architecture than the folder says.
            Some(index) if told_by != WanTransformerConfig::PATH => {
                ModelIndex { expand_timesteps: index.expand_timesteps || inferred.expand_timesteps, ..index }
            }
            Some(index) => index,
            None => ModelIndex { solver: scheduler.class.unwrap_or(inferred.solver), ..inferred },
        };
        let configs = Configs { index, transformer, text_encoder, vae, scheduler, defaults };
        configs.check(&told_by)?;
        Ok(Self { configs, opened })
    }

    /// The component of this folder.
    ///
    /// # Errors
    /// As [`Component::open`].
    pub async fn component(&mut self, source: &dyn Source, files: (&str, &[&str])) -> Result<Component> {
        match self.opened.remove(files.0) {
            Some(component) => Ok(component),
            None => Component::open(source, files.0, files.1).await,
        }
    }
}

/// A config file, if it is there.
async fn config(source: &dyn Source, path: &str) -> Result<Option<Vec<u8>>> {
    match read_all(source, path, CONFIG_BYTES).await {
        Ok(json) => Ok(Some(json)),
        Err(Error::FileMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn open<'a>(
    source: &dyn Source,
    (folder, names): (&'static str, &[&str]),
    opened: &'a mut BTreeMap<&'static str, Component>,
) -> Result<&'a Component> {
    if !opened.contains_key(folder) {
        opened.insert(folder, Component::open(source, folder, names).await?);
    }
    opened.get(folder).ok_or(Error::WrongState { call: "load", reason: format!("{folder} was not opened") })
}

/// Every component, without a model_index.json that says which there are, and a tokenizer.
///
/// # Errors
/// [`Error::ComponentMissing`] names all that are not there; [`Error::FileMissing`] names the index where none is.
async fn all_components(source: &dyn Source) -> Result<BTreeMap<&'static str, Component>> {
    let mut opened = BTreeMap::new();
    let mut missing = Vec::new();
    for (folder, names) in FILES {
        match Component::find_files(source, folder, names).await? {
            Some(component) => drop(opened.insert(folder, component)),
            None => missing.push(folder.to_owned()),
        }
    }
    if opened.is_empty() {
        return Err(Error::FileMissing { path: ModelIndex::PATH.into() });
    }
    let own = opened.get(FILES[0].0).is_some_and(|text| OwnTokenizer::of(text).is_some());
    if !own && !exists(source, TextTokenizer::PATH).await? {
        missing.push("tokenizer".to_owned());
    }
    if missing.is_empty() {
        return Ok(opened);
    }
    Err(Error::ComponentMissing { missing })
}
