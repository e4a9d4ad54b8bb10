//! Which weights a model needs, under the names that the checkpoint gives them.
//!
//! A model is built by walking down its names (`scope.pp("blocks").pp(0).pp("attn1")`); every layer it makes registers
//! the tensors it needs. The same walk over a config alone (no files) is what the planner runs on.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::rc::Rc;

use super::component::Component;
use super::layout::Layout;
use super::stored::{FileDtype, TensorLocation};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// Where a component's tensors are looked up.
#[derive(Debug)]
pub enum Checkpoint {
    /// In files.
    Files(Component),
    /// Nowhere: every tensor is taken to exist with the right shape, matrices in this format. For planning from configs.
    Assumed {
        /// Component folder.
        folder: String,
        /// Format of matrices.
        dtype: DType,
    },
}

impl Checkpoint {
    fn folder(&self) -> &str {
        match self {
            Self::Files(component) => component.folder(),
            Self::Assumed { folder, .. } => folder,
        }
    }
}

/// One tensor that has to be loaded before the model can run.
#[derive(Debug, Clone)]
pub struct WeightSpec {
    /// Where it goes.
    pub tensor: Tensor,
    /// Component folder, such as `transformer`.
    pub component: String,
    /// Checkpoint key.
    pub key: String,
    /// From the file's order to the kernels'.
    pub layout: Layout,
    /// Where it lies; `None` when only a config is known.
    pub location: Option<TensorLocation>,
    /// Where the number lies that all of it is multiplied with; 8-bit floats come with one, or without.
    pub scale: Option<TensorLocation>,
}

/// A tensor that the models read, whole and as its file has it. Several [`WeightSpec`]s may be parts of it; the embedding table is none.
#[derive(Debug, Clone, PartialEq)]
pub struct FileTensor {
    /// Component folder, such as `transformer`.
    pub component: String,
    /// Checkpoint key.
    pub key: String,
    /// Torch shape.
    pub shape: Vec<usize>,
    /// Where it lies; `None` when only a config is known.
    pub location: Option<TensorLocation>,
    /// As [`WeightSpec::scale`].
    pub scale: Option<TensorLocation>,
}

/// The weights of a model, in the order in which its layers were made.
#[derive(Debug, Default)]
pub struct Weights {
    specs: RefCell<Vec<WeightSpec>>,
    tensors: RefCell<Vec<FileTensor>>,
}

impl Weights {
    /// An empty list.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// All that has been registered.
    pub fn specs(&self) -> Vec<WeightSpec> {
        self.specs.borrow().clone()
    }

    /// Every tensor that was asked for, once each.
    pub fn tensors(&self) -> Vec<FileTensor> {
        let mut seen = HashSet::new();
        let mut tensors = self.tensors.borrow().clone();
        tensors.retain(|tensor| seen.insert((tensor.component.clone(), tensor.key.clone())));
        tensors
    }

    /// Bytes in the files, by component.
    pub fn file_bytes(&self) -> BTreeMap<String, u64> {
        let mut bytes = BTreeMap::new();
        for spec in self.specs.borrow().iter() {
            let location = spec.location.as_ref().map_or(0..0, |location| location.range.clone());
            *bytes.entry(spec.component.clone()).or_default() += location.end - location.start;
        }
        bytes
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.specs.borrow().iter().map(|s| s.tensor.allocation_bytes()).sum()
    }
}

/// A place in the checkpoint's names, from which layers take their tensors.
#[derive(Debug, Clone)]
pub struct Scope {
    checkpoint: Rc<Checkpoint>,
    weights: Rc<Weights>,
    prefix: String,
}

impl Scope {
    /// The root of a component's names.
    pub fn new(checkpoint: Rc<Checkpoint>, weights: Rc<Weights>) -> Self {
        Self { checkpoint, weights, prefix: String::new() }
    }

    /// The names below `name`.
    pub fn pp(&self, name: impl Display) -> Self {
        Self { prefix: self.key(&name.to_string()), ..self.clone() }
    }

    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// The location of `name`, after its shape has been compared with `shape`.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::TensorShape`], [`Error::TensorDtype`].
    pub fn locate(&self, name: &str, shape: &[usize]) -> Result<Option<TensorLocation>> {
        let Checkpoint::Files(component) = &*self.checkpoint else { return Ok(None) };
        let key = self.key(name);
        let location = component.find(&key)?;
        if location.shape != shape {
            return Err(Error::TensorShape {
                component: component.folder().to_owned(),
                tensor: key,
                expected: shape.to_vec(),
                found: location.shape.clone(),
            });
        }
        if !location.dtype.is_readable() {
            return Err(Error::TensorDtype {
                component: component.folder().to_owned(),
                tensor: key,
                found: location.dtype.name().to_owned(),
            });
        }
        Ok(Some(location.clone()))
    }

    /// The location of a table whose rows are read one by one when they are needed.
    ///
    /// # Errors
    /// As [`Scope::locate`]; [`Error::TensorDtype`] for 8-bit floats with a scale too, which rows are not multiplied with.
    pub fn table(&self, name: &str, shape: &[usize]) -> Result<Option<TensorLocation>> {
        let location = self.locate(name, shape)?;
        let scale = self.scale(name, location.as_ref())?;
        self.note(name, shape, &location, &scale);
        match (scale, &location) {
            (Some(_), Some(found)) => Err(Error::TensorDtype {
                component: self.checkpoint.folder().to_owned(),
                tensor: self.key(name),
                found: format!("{} with a scale", found.dtype.name()),
            }),
            _ => Ok(location),
        }
    }

    /// The scale of an 8-bit tensor, under the names that Comfy's files (`scale_weight`) and newer ones (`weight_scale`) give it.
    fn scale(&self, name: &str, location: Option<&TensorLocation>) -> Result<Option<TensorLocation>> {
        let Checkpoint::Files(component) = &*self.checkpoint else { return Ok(None) };
        if !location.is_some_and(|l| matches!(l.dtype, FileDtype::F8E4M3 | FileDtype::F8E5M2)) {
            return Ok(None);
        }
        let layer = name.strip_suffix("weight").unwrap_or(name);
        let names = ["scale_weight", "weight_scale"].map(|scale| self.key(&format!("{layer}{scale}")));
        let Some((key, scale)) = names.iter().find_map(|key| Some((key, component.find(key).ok()?))) else {
            return Ok(None);
        };
        let one = scale.shape.iter().all(|extent| *extent == 1);
        match (one, scale.dtype.is_readable()) {
            (true, true) => Ok(Some(scale.clone())),
            (true, false) => Err(Error::TensorDtype {
                component: component.folder().to_owned(),
                tensor: key.clone(),
                found: scale.dtype.name().to_owned(),
            }),
            (false, _) => Err(Error::TensorShape {
                component: component.folder().to_owned(),
                tensor: key.clone(),
                expected: vec![1],
                found: scale.shape.clone(),
            }),
        }
    }

    /// A small tensor of torch shape `shape` in f32, flattened to `[n]`.
    ///
    /// # Errors
    /// As [`Scope::locate`].
    pub fn vector(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let location = self.locate(name, shape)?;
        let scale = self.scale(name, location.as_ref())?;
        self.note(name, shape, &location, &scale);
        let tensor = Tensor::resident(DType::F32, &[shape.iter().product()]);
        Ok(self.register(tensor, name, Layout::Flat, location, scale))
    }

    /// A weight of torch shape `[N, ...]` as the matrix that the kernels read (`[K, stride]`; [`LinearWeight`](crate::ops::LinearWeight)), in
    /// the format that goes with the file's.
    ///
    /// # Errors
    /// As [`Scope::locate`].
    pub fn matrix(&self, name: &str, shape: &[usize], layout: Layout) -> Result<Tensor> {
        let location = self.locate(name, shape)?;
        let scale = self.scale(name, location.as_ref())?;
        self.note(name, shape, &location, &scale);
        let dtype = match (&*self.checkpoint, &location) {
            (Checkpoint::Assumed { dtype, .. }, _) => *dtype,
            (_, Some(location)) => {
                layout.on_device(&location.dtype, shape, scale.is_some()).unwrap_or(DType::F32)
            }
            (_, None) => DType::F32,
        };
        let tensor = Tensor::resident(dtype, &layout.shape(dtype, shape));
        let (layout, location) = match location.map(|location| layout.narrow(&location)) {
            Some((layout, location)) => (layout, Some(location)),
            None => (layout, None),
        };
        Ok(self.register(tensor, name, layout, location, scale))
    }

    fn note(
        &self,
        name: &str,
        shape: &[usize],
        location: &Option<TensorLocation>,
        scale: &Option<TensorLocation>,
    ) {
        self.weights.tensors.borrow_mut().push(FileTensor {
            component: self.checkpoint.folder().to_owned(),
            key: self.key(name),
            shape: shape.to_vec(),
            location: location.clone(),
            scale: scale.clone(),
        });
    }

    fn register(
        &self,
        tensor: Tensor,
        name: &str,
        layout: Layout,
        location: Option<TensorLocation>,
        scale: Option<TensorLocation>,
    ) -> Tensor {
        self.weights.specs.borrow_mut().push(WeightSpec {
            tensor: tensor.clone(),
            component: self.checkpoint.folder().to_owned(),
            key: self.key(name),
            layout,
            location,
            scale,
        });
        tensor
    }
}
