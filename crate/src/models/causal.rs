//! What a model that sees a video frame by frame remembers of the frames before.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::Result;
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};

/// The last frames that each layer with a memory has seen: residents, so that they outlive a recording.
///
/// One cache serves one clip. The recording of the clip's first chunk knows that there is nothing before it; the one of later
/// chunks, made once and run for each, reads the residents.
#[derive(Debug, Default)]
pub struct CausalCache {
    /// By layer and age; the newest has age 0.
    slots: RefCell<HashMap<(u64, usize), Tensor>>,
}

/// A chunk of a clip on its way through a model.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// What the chunks before have left.
    pub cache: &'a CausalCache,
    /// Whether it is the clip's first.
    pub first: bool,
}

impl CausalCache {
    /// An empty cache: the next frame is the first.
    pub fn new() -> Self {
        Self::default()
    }

    /// The residents, to be released with the clip.
    pub fn tensors(&self) -> Vec<Tensor> {
        self.slots.borrow().values().cloned().collect()
    }

    fn slot(&self, key: u64, age: usize, shape: &[usize]) -> Tensor {
        let mut slots = self.slots.borrow_mut();
        slots.entry((key, age)).or_insert_with(|| Tensor::resident(DType::F32, shape)).clone()
    }

    fn has_seen(&self, key: u64) -> bool {
        self.slots.borrow().contains_key(&(key, 0))
    }
}

impl Chunk<'_> {
    /// The N frames before, oldest first, for the layer `key`. In a first chunk `None` stands for the zeros before a clip; a later
    /// one reads residents, which are zero until a frame has been remembered (the Wan VAE's upsampling `time_conv` skips the
    /// first chunk).
    pub(super) fn history<const N: usize>(&self, key: u64, shape: &[usize]) -> [Option<Tensor>; N] {
        let nothing = self.first && !self.cache.has_seen(key);
        std::array::from_fn(|i| (!nothing).then(|| self.cache.slot(key, N - 1 - i, shape)))
    }

    /// Records that `frame` is now the newest of the `depth` frames that are kept for the layer `key`.
    pub(super) fn remember(&self, rec: &mut Recorder, key: u64, frame: &Tensor, depth: usize) -> Result<()> {
        let seen = !self.first || self.cache.has_seen(key);
        for age in (1..depth).rev().filter(|_| seen) {
            let [newer, older] = [age - 1, age].map(|age| self.cache.slot(key, age, frame.shape()));
            rec.copy(&newer, &older)?;
        }
        rec.copy(frame, &self.cache.slot(key, 0, frame.shape()))
    }
}
