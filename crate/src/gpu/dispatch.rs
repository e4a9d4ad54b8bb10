//! What one compute dispatch needs, as plain data: operations are lowered to these without a GPU.

use std::ops::Range;

use super::limits::Limits;
use super::shaders::{self, Reflection};
use super::texels::{Rows, Source};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// Words of the uniform block in front of a dispatch's parameters: the base of each storage binding.
pub const BASE_WORDS: usize = 8;

/// A shader of `shaders/` with the flags that its preprocessor is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// File stem under `shaders/`.
    pub shader: &'static str,
    /// Flags that are set, in the order of the permutation table.
    pub flags: Vec<&'static str>,
}

/// A range of a tensor as one binding.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The tensor (a view: the range is relative to it).
    pub tensor: Tensor,
    /// Elements of the view that the dispatch may touch.
    pub elements: Range<usize>,
    /// Whether it is written.
    pub writable: bool,
    /// Its rows, when it is read as a texture (`shared/texels.wgsl`), which is filled with the elements before the dispatch; of a
    /// quantised matrix with all of it.
    pub texels: Option<Rows>,
}

/// One dispatch. Binding 0 of group 0 is the uniform block: [`BASE_WORDS`] `u32` of base offsets, then `params`; the others
/// follow in the order of the shader's binding numbers, which may have gaps where a variant leaves one out. Word
/// `b - 1` of the base offsets is the first element of `elements` inside binding `b`, because a binding can only start
/// at a multiple of [`Limits::offset_alignment`] (`shared/base.wgsl`); of a texture it is what [`Binding::place`] says.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Which pipeline.
    pub kernel: Kernel,
    /// In the shader's order.
    pub bindings: Vec<Binding>,
    /// Words of the uniform block after the base offsets, in the shader's order.
    pub params: Vec<u32>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Multiply-adds times two: submits are cut by it.
    pub flops: u64,
}

impl Kernel {
    /// A shader with some of its flags, in the order of the permutation table.
    pub fn new(shader: &'static str, flags: impl IntoIterator<Item = &'static str>) -> Self {
        Self { shader, flags: flags.into_iter().collect() }
    }
}

impl Binding {
    /// The whole view, read.
    pub fn read(tensor: &Tensor) -> Self {
        Self::read_range(tensor, 0..tensor.len())
    }

    /// The whole view, written.
    pub fn write(tensor: &Tensor) -> Self {
        Self::write_range(tensor, 0..tensor.len())
    }

    /// Some elements of the view, read.
    pub fn read_range(tensor: &Tensor, elements: Range<usize>) -> Self {
        Self { tensor: tensor.clone(), elements, writable: false, texels: None }
    }

    /// Some elements of the view, written.
    pub fn write_range(tensor: &Tensor, elements: Range<usize>) -> Self {
        Self { tensor: tensor.clone(), elements, writable: true, texels: None }
    }

    /// Where a texture has it from.
    pub(super) fn source(&self) -> Option<Source> {
        Source::of(self, self.texels?)
    }

    /// First element of the range inside the allocation; kernels that read vectors need it to be a multiple of four.
    pub fn first_element(&self) -> usize {
        self.tensor.offset() + self.elements.start
    }

    /// The bytes of the allocation that are bound, and the element of the range inside them; of a texture, how many rows of the tensor
    /// one of its rows has, as a power of two.
    pub fn place(&self, limits: &Limits) -> (Range<u64>, u32) {
        if let Some(source) = self.source() {
            return (source.range(), source.shift);
        }
        let size = match self.tensor.dtype() {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 => 2,
            // The sections of a quantised matrix are bound together, whole.
            DType::Quants(_) => return (0..buffer_bytes(&self.tensor), 0),
        };
        let first = self.first_element() as u64 * size;
        let last = (self.tensor.offset() + self.elements.end) as u64 * size;
        let start = first - first % limits.offset_alignment.max(1);
        let end = last.next_multiple_of(16).min(buffer_bytes(&self.tensor));
        (start..end, ((first - start) / size) as u32)
    }
}

/// Bytes of the buffer that holds a tensor: whole vectors, so that arrays of `vec4` reach the last element.
pub fn buffer_bytes(tensor: &Tensor) -> u64 {
    tensor.allocation_bytes().next_multiple_of(16).max(16)
}

impl Dispatch {
    /// Estimated cost in the unit of flops: arithmetic, or the bytes that are touched where those take longer.
    pub fn cost(&self) -> u64 {
        let elements: u64 = self.bindings.iter().map(|b| b.elements.len() as u64).sum();
        // A device moves a 4-byte element in the time of some ten flops, and starts a dispatch in about 10 us.
        self.flops + 10 * elements + 1_000_000
    }

    /// The uniform block for these limits.
    ///
    /// # Errors
    /// As [`Dispatch::check`].
    pub fn uniforms(&self, limits: &Limits) -> Result<Vec<u32>> {
        let reflection = self.check(limits)?;
        let mut words = vec![0; BASE_WORDS];
        for (binding, (number, _)) in self.bindings.iter().zip(reflection.bindings) {
            if let Some(word) = words.get_mut(*number as usize - 1) {
                *word = binding.place(limits).1;
            }
        }
        words.extend(&self.params);
        words.resize(reflection.uniform_bytes as usize / 4, 0);
        Ok(words)
    }

    /// What the shader binds, when this dispatch agrees with it and with the limits.
    ///
    /// # Errors
    /// [`Error::DeviceError`] when a lowering and its shader disagree, [`Error::DeviceTooSmall`] for a binding over the limit.
    pub fn check(&self, limits: &Limits) -> Result<&'static Reflection> {
        let fault = |what: String| Error::DeviceError {
            reason: format!("{} {}: {what}", self.kernel.shader, self.kernel.flags.join(" ")),
        };
        let reflection =
            shaders::reflection(&self.kernel).ok_or_else(|| fault("there is no such permutation".into()))?;
        let (expected, found) = (
            reflection
                .bindings
                .iter()
                .map(|(_, access)| (access.writes(), access.texels()))
                .collect::<Vec<_>>(),
            self.bindings.iter().map(|b| (b.writable, b.texels.is_some())).collect::<Vec<_>>(),
        );
        if expected != found {
            return Err(fault(format!(
                "bindings written and of texels {found:?}, the shader has {expected:?}"
            )));
        }
        let words = (BASE_WORDS + self.params.len()).next_multiple_of(4);
        if words * 4 != reflection.uniform_bytes as usize {
            return Err(fault(format!(
                "uniform block of {words} words, not {}",
                reflection.uniform_bytes / 4
            )));
        }
        if self.grid.iter().any(|n| *n == 0 || *n > limits.max_workgroups) {
            return Err(fault(format!("grid {:?}", self.grid)));
        }
        if reflection.workgroup_bytes > limits.workgroup_memory {
            return Err(Error::DeviceTooSmall {
                what: format!("workgroup memory of {}", self.kernel.shader),
                needed: reflection.workgroup_bytes.into(),
                allowed: limits.workgroup_memory.into(),
            });
        }
        for binding in &self.bindings {
            let (bytes, _) = binding.place(limits);
            let end = binding.tensor.offset() + binding.elements.end;
            if binding.elements.is_empty() || end > binding.tensor.allocation() {
                return Err(fault(format!(
                    "elements {:?} of {:?}",
                    binding.elements,
                    binding.tensor.shape()
                )));
            }
            if bytes.end - bytes.start > limits.max_binding {
                return Err(Error::DeviceTooSmall {
                    what: format!(
                        "a binding of {} (tensor {:?})",
                        self.kernel.shader,
                        binding.tensor.shape()
                    ),
                    needed: bytes.end - bytes.start,
                    allowed: limits.max_binding,
                });
            }
        }
        let writes = |w: bool| self.bindings.iter().filter(move |b| b.writable == w).map(|b| b.tensor.id());
        if writes(true).any(|id| writes(false).any(|other| other == id)) {
            return Err(fault("a tensor is read and written".into()));
        }
        Ok(reflection)
    }
}
