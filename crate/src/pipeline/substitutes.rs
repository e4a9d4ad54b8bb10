//! A pipeline with other weights than its files have, by names and shapes alone: for saying what a clip would take then.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::architecture::{Architecture, Configs};
use super::pieces::FILES;
use crate::Result;
use crate::config::TaehvConfig;
use crate::tensor::DType;
use crate::weights::{
    Checkpoint, Component, Container, FileDtype, FileTensor, Metadata, Packing, TensorLocation,
};

impl Architecture {
    /// With the weights of every component as `kinetoscope pack` leaves them, and a tiny autoencoder, in 16 bits, in the VAE's place where one
    /// is given.
    ///
    /// # Errors
    /// None that the pipeline itself does not have.
    pub fn substituted(&self, packing: impl Fn(&str) -> Packing, tiny: Option<TaehvConfig>) -> Result<Self> {
        let mut configs = self.configs.clone();
        let tensors = self.weights.tensors();
        let checkpoints = FILES.map(|(folder, _)| {
            if folder == "vae" && tiny.is_some() {
                return Rc::new(Checkpoint::Assumed { folder: folder.into(), dtype: DType::F16 });
            }
            let own = tensors.iter().filter(|tensor| tensor.component == folder);
            let packed = own.map(|tensor| (tensor.key.clone(), packed(tensor, &packing(folder))));
            Rc::new(Checkpoint::Files(component(folder, packed.collect())))
        });
        if let Some(tiny) = tiny {
            configs = Configs { vae: tiny.into(), ..configs };
        }
        Self::build(configs, checkpoints.into())
    }
}

/// Where a tensor would lie; in 16 bits at first where there are no files.
fn packed(tensor: &FileTensor, packing: &Packing) -> TensorLocation {
    let stored = tensor.location.as_ref().map_or(FileDtype::F16, |location| location.dtype.clone());
    let dtype = packing.target(&tensor.key, &tensor.shape, &stored, tensor.scale.is_some());
    let elements = tensor.shape.iter().map(|extent| *extent as u64).product();
    let path = tensor.component.clone();
    TensorLocation { path, range: 0..dtype.bytes(elements).unwrap_or(0), dtype, shape: tensor.shape.clone() }
}

fn component(folder: &str, tensors: BTreeMap<String, TensorLocation>) -> Component {
    Component::new(folder, folder.to_owned(), Container::Gguf(3), tensors, Metadata::default())
}
