//! Convolutions over time and their memory (WanCausalConv3d and `feat_cache`).

use std::cell::RefCell;
use std::collections::HashMap;

use crate::Result;
use crate::ops::{ConvOptions, ConvWeight};
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::weights::{Layout, Scope};

/// A convolution of frames. With a kernel longer than 1 in time it sees the frames before, zeros before the first.
#[derive(Debug)]
pub struct CausalConv {
    weight: ConvWeight,
    bias: Tensor,
    options: ConvOptions,
}

/// The last two frames that each temporal convolution has seen: residents, so that they outlive a recording.
///
/// One cache serves one clip. The recording of the clip's first chunk knows that there is nothing before it; the one of later
/// chunks, made once and run for each, reads the residents.
#[derive(Debug, Default)]
pub struct CausalCache {
    slots: RefCell<HashMap<u64, [Tensor; 2]>>,
}

/// A chunk of a clip on its way through the VAE.
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
        self.slots.borrow().values().flatten().cloned().collect()
    }

    fn slot(&self, key: u64, shape: &[usize]) -> [Tensor; 2] {
        let resident = || Tensor::resident(DType::F32, shape);
        self.slots.borrow_mut().entry(key).or_insert_with(|| [resident(), resident()]).clone()
    }
}

impl Chunk<'_> {
    /// The two frames before, older first. In a first chunk `None` stands for the zeros before a clip; a later one reads
    /// residents, which are zero until a frame has been remembered (the upsampling `time_conv` skips the first chunk).
    pub(super) fn history(&self, key: u64, shape: &[usize]) -> [Option<Tensor>; 2] {
        if self.first && !self.cache.slots.borrow().contains_key(&key) {
            return [None, None];
        }
        self.cache.slot(key, shape).map(Some)
    }

    /// Records that `frame` is now the newest.
    pub(super) fn remember(&self, rec: &mut Recorder, key: u64, frame: &Tensor) -> Result<()> {
        let seen = !self.first || self.cache.slots.borrow().contains_key(&key);
        let [older, newer] = self.cache.slot(key, frame.shape());
        if seen {
            rec.copy(&newer, &older)?;
        }
        rec.copy(frame, &newer)
    }
}

impl CausalConv {
    /// A convolution of torch shape `[outputs, inputs, kernel...]`, kernel of two or three dimensions.
    pub fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        kernel: &[usize],
        options: ConvOptions,
    ) -> Result<Self> {
        let bias = scope.vector("bias", &[outputs])?;
        Self::outputs(scope, inputs, outputs, kernel, options, 0..outputs, &bias)
    }

    /// Both halves of the outputs of an upsampling `time_conv` `[2 C, C, 3, 1, 1]`: the first makes the even frames, the second
    /// the odd ones.
    pub fn halves(scope: &Scope, channels: usize) -> Result<[Self; 2]> {
        let bias = scope.vector("bias", &[2 * channels])?;
        let half = |rows: std::ops::Range<usize>| {
            Self::outputs(scope, channels, 2 * channels, &[3, 1, 1], ConvOptions::same(1), rows, &bias)
        };
        Ok([half(0..channels)?, half(channels..2 * channels)?])
    }

    fn outputs(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        kernel: &[usize],
        options: ConvOptions,
        rows: std::ops::Range<usize>,
        bias: &Tensor,
    ) -> Result<Self> {
        let shape: Vec<usize> = [outputs, inputs].into_iter().chain(kernel.iter().copied()).collect();
        let layout = Layout::Matrix { start: rows.start, count: rows.len() };
        let mut full = [1; 3];
        full[3 - kernel.len().min(3)..].copy_from_slice(&kernel[kernel.len().saturating_sub(3)..]);
        Ok(Self {
            weight: ConvWeight {
                matrix: scope.matrix("weight", &shape, layout)?,
                channels_in: inputs,
                channels_out: rows.len(),
                kernel: full,
            },
            bias: bias.rows(rows.start, rows.len())?,
            options,
        })
    }

    /// Identity in the cache.
    pub(super) fn key(&self) -> u64 {
        self.weight.matrix.id()
    }

    /// Records one output frame, with the frames before from the cache, and remembers this one.
    pub fn forward(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        frame: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        if self.weight.kernel[0] == 1 {
            return self.frames(rec, &[Some(frame)], residual);
        }
        let [older, newer] = chunk.history(self.key(), frame.shape());
        let out = self.frames(rec, &[older.as_ref(), newer.as_ref(), Some(frame)], residual)?;
        chunk.remember(rec, self.key(), frame)?;
        Ok(out)
    }

    /// Records one output frame of explicitly given input frames.
    pub fn frames(
        &self,
        rec: &mut Recorder,
        frames: &[Option<&Tensor>],
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        rec.conv(frames, &self.weight, Some(&self.bias), self.options, residual)
    }
}
