//! Where tensors live on the CPU, and how operations see them.

use std::collections::HashMap;

use half::{bf16, f16};

use super::kept_bytes;
use crate::tensor::{DType, Lifetime, Tensor};
use crate::{Error, Result};

/// One allocation. Weights of 16 bits are kept in f32, quantised ones as they are.
#[derive(Debug)]
pub(super) enum Storage {
    F32(Vec<f32>),
    U32(Vec<u32>),
    Quants(Vec<u8>),
}

/// The error of an operation on a tensor that has no memory.
pub(super) fn missing(call: &'static str) -> Error {
    Error::WrongState {
        call,
        reason: "a tensor it uses has no memory: it was never uploaded, or released".into(),
    }
}

/// `elements` default values, or [`Error::OutOfMemory`].
pub(super) fn allocate<T: Clone + Default>(elements: usize) -> Result<Vec<T>> {
    let mut data = Vec::new();
    data.try_reserve_exact(elements).map_err(|e| Error::OutOfMemory { reason: e.to_string() })?;
    data.resize(elements, T::default());
    Ok(data)
}

impl Storage {
    pub(super) fn zeros(dtype: DType, elements: usize) -> Result<Self> {
        Ok(match dtype {
            DType::F32 | DType::F16 | DType::Bf16 => Self::F32(allocate(elements)?),
            DType::U32 => Self::U32(allocate(elements)?),
            DType::Quants(format) => Self::Quants(allocate(format.sections(elements)[3])?),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::F32(data) => kept_bytes(data.len()),
            Self::U32(data) => kept_bytes(data.len()),
            Self::Quants(data) => data.len() as u64,
        }
    }

    /// The f32 elements of a view.
    pub(super) fn floats(&self, view: &Tensor) -> Result<&[f32]> {
        match self {
            Self::F32(data) => {
                data.get(view.offset()..view.offset() + view.len()).ok_or_else(|| missing("floats"))
            }
            Self::U32(_) | Self::Quants(_) => Err(format_mismatch("floats", view)),
        }
    }

    /// The f32 elements of a view, for writing.
    pub(super) fn floats_mut(&mut self, view: &Tensor) -> Result<&mut [f32]> {
        match self {
            Self::F32(data) => {
                data.get_mut(view.offset()..view.offset() + view.len()).ok_or_else(|| missing("floats_mut"))
            }
            Self::U32(_) | Self::Quants(_) => Err(format_mismatch("floats_mut", view)),
        }
    }

    /// The u32 elements of a view, for writing.
    pub(super) fn words_mut(&mut self, view: &Tensor) -> Result<&mut [u32]> {
        match self {
            Self::U32(data) => {
                data.get_mut(view.offset()..view.offset() + view.len()).ok_or_else(|| missing("words_mut"))
            }
            Self::F32(_) | Self::Quants(_) => Err(format_mismatch("words_mut", view)),
        }
    }

    /// Fills a view from bytes of its format.
    pub(super) fn write(&mut self, view: &Tensor, bytes: &[u8]) -> Result<()> {
        let exact = exact_bytes(view);
        if bytes.len() != exact && bytes.len() as u64 != view.dtype().bytes(view.len()) {
            return Err(Error::ShapeMismatch {
                op: "upload",
                what: "bytes",
                expected: vec![exact],
                found: vec![bytes.len()],
            });
        }
        let pairs = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let words = bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        match view.dtype() {
            DType::F32 => fill(self.floats_mut(view)?, words.map(f32::from_le_bytes)),
            DType::F16 => fill(self.floats_mut(view)?, pairs.map(|b| f16::from_le_bytes(b).to_f32())),
            DType::Bf16 => fill(self.floats_mut(view)?, pairs.map(|b| bf16::from_le_bytes(b).to_f32())),
            DType::U32 => fill(self.words_mut(view)?, words.map(u32::from_le_bytes)),
            DType::Quants(_) => match self {
                Self::Quants(data) if data.len() == bytes.len() => data.copy_from_slice(bytes),
                _ => return Err(format_mismatch("write", view)),
            },
        }
        Ok(())
    }

    /// The bytes of a view in its format; narrowing gives back exactly what was widened.
    pub(super) fn read(&self, view: &Tensor) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(exact_bytes(view))
            .map_err(|e| Error::OutOfMemory { reason: e.to_string() })?;
        match (self, view.dtype()) {
            (Self::F32(_), DType::F32) => {
                bytes.extend(self.floats(view)?.iter().flat_map(|v| v.to_le_bytes()))
            }
            (Self::F32(_), DType::F16) => {
                bytes.extend(self.floats(view)?.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()));
            }
            (Self::F32(_), DType::Bf16) => {
                bytes.extend(self.floats(view)?.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()));
            }
            (Self::U32(data), DType::U32) => {
                let words =
                    data.get(view.offset()..view.offset() + view.len()).ok_or_else(|| missing("read"))?;
                bytes.extend(words.iter().flat_map(|v| v.to_le_bytes()));
            }
            (Self::Quants(data), DType::Quants(_)) => bytes.extend(data),
            _ => return Err(format_mismatch("read", view)),
        }
        Ok(bytes)
    }
}

fn exact_bytes(view: &Tensor) -> usize {
    match view.dtype() {
        DType::F32 | DType::U32 => view.len() * 4,
        DType::F16 | DType::Bf16 => view.len() * 2,
        DType::Quants(format) => format.sections(view.len())[3],
    }
}

fn fill<T>(out: &mut [T], values: impl Iterator<Item = T>) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value;
    }
}

fn format_mismatch(call: &'static str, view: &Tensor) -> Error {
    Error::WrongState { call, reason: format!("the tensor's format is {:?}", view.dtype()) }
}

/// What an operation may read.
pub(super) struct Operands<'a> {
    pub(super) residents: &'a HashMap<u64, Storage>,
    pub(super) temporaries: &'a HashMap<u64, Storage>,
}

impl<'a> Operands<'a> {
    /// The elements of a tensor.
    pub(super) fn get(&self, tensor: &Tensor) -> Result<&'a [f32]> {
        self.storage(tensor)?.floats(tensor)
    }

    /// The bytes of a quantised matrix.
    pub(super) fn quants(&self, tensor: &Tensor) -> Result<&'a [u8]> {
        match self.storage(tensor)? {
            Storage::Quants(data) => Ok(data),
            Storage::F32(_) | Storage::U32(_) => Err(format_mismatch("quants", tensor)),
        }
    }

    fn storage(&self, tensor: &Tensor) -> Result<&'a Storage> {
        let storage = match tensor.lifetime() {
            Lifetime::Resident => self.residents.get(&tensor.id()),
            Lifetime::Temporary => self.temporaries.get(&tensor.id()),
        };
        storage.ok_or_else(|| missing("run"))
    }

    /// The elements of a tensor that may be absent.
    pub(super) fn optional(&self, tensor: Option<&Tensor>) -> Result<Option<&'a [f32]>> {
        tensor.map(|t| self.get(t)).transpose()
    }
}
