//! Virtual tensors: a shape, a number format and an identity, but no memory.
//!
//! Models record operations on them; an executor (GPU or CPU) gives them memory when a recording is prepared.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::quants::Quants;
use crate::{Error, Result};

/// How the elements of a tensor are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision; every activation.
    F32,
    /// IEEE half precision, two to a 32-bit word; weights only.
    F16,
    /// bfloat16, two to a 32-bit word; weights only.
    Bf16,
    /// Unsigned 32-bit words (RGBA pixels).
    U32,
    /// Quantised matrices; weights of linear layers only, and never in parts.
    Quants(Quants),
}

impl DType {
    /// Bytes of `elements` elements; 16-bit formats are rounded up to whole 32-bit words.
    pub fn bytes(self, elements: usize) -> u64 {
        match self {
            Self::F32 | Self::U32 => elements as u64 * 4,
            Self::F16 | Self::Bf16 => elements.div_ceil(2) as u64 * 4,
            Self::Quants(format) => format.bytes(elements),
        }
    }
}

/// Whether a tensor lives for one run of a recording or until it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Inside one run: the planner gives it a place from its first write to its last read.
    Temporary,
    /// Weights, inputs, results and state kept between runs: one allocation of its own, zero at first.
    Resident,
}

/// A contiguous, row-major view of a virtual tensor. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    id: u64,
    lifetime: Lifetime,
    dtype: DType,
    shape: Vec<usize>,
    offset: usize,
    allocation: usize,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Tensor {
    fn new(lifetime: Lifetime, dtype: DType, shape: &[usize]) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            lifetime,
            dtype,
            shape: shape.to_vec(),
            offset: 0,
            allocation: shape.iter().product(),
        }
    }

    /// A new f32 tensor that lives inside one run of the recording that writes it.
    pub fn temporary(shape: &[usize]) -> Self {
        Self::new(Lifetime::Temporary, DType::F32, shape)
    }

    /// A new tensor that keeps its content between runs, zero until written.
    pub fn resident(dtype: DType, shape: &[usize]) -> Self {
        Self::new(Lifetime::Resident, dtype, shape)
    }

    /// Identity of the allocation; views share it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// See [`Lifetime`].
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Storage format.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements of the view.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the view has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First element of the view inside the allocation.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Elements of the whole allocation.
    pub fn allocation(&self) -> usize {
        self.allocation
    }

    /// Bytes of the whole allocation.
    pub fn allocation_bytes(&self) -> u64 {
        self.dtype.bytes(self.allocation)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the element counts differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if shape.iter().product::<usize>() != self.len() {
            return Err(Error::ShapeMismatch {
                op: "reshape",
                what: "shape",
                expected: self.shape.clone(),
                found: shape.to_vec(),
            });
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// Rows `start..start + count` of the outermost dimension, as a view.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the range ends past the last row.
    pub fn rows(&self, start: usize, count: usize) -> Result<Self> {
        let rows = self.shape.first().copied().unwrap_or(0);
        if start.checked_add(count).is_none_or(|end| end > rows) {
            return Err(Error::ShapeMismatch {
                op: "rows",
                what: "range",
                expected: vec![rows],
                found: vec![start, count],
            });
        }
        let row = self.len() / rows.max(1);
        let mut shape = self.shape.clone();
        shape[0] = count;
        Ok(Self { shape, offset: self.offset + start * row, ..self.clone() })
    }

    /// `Ok` when the shape is `expected`.
    pub(crate) fn expect(&self, op: &'static str, what: &'static str, expected: &[usize]) -> Result<()> {
        if self.shape == expected {
            return Ok(());
        }
        Err(Error::ShapeMismatch { op, what, expected: expected.to_vec(), found: self.shape.clone() })
    }

    /// The dimensions, when there are exactly `N`.
    pub(crate) fn dims<const N: usize>(&self, op: &'static str, what: &'static str) -> Result<[usize; N]> {
        self.shape.as_slice().try_into().map_err(|_| Error::ShapeMismatch {
            op,
            what,
            expected: vec![0; N],
            found: self.shape.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_views_of_one_allocation() {
        let t = Tensor::temporary(&[5, 3]);
        let v = t.rows(2, 2).unwrap();
        assert_eq!((v.id(), v.offset(), v.shape(), v.allocation()), (t.id(), 6, &[2, 3][..], 15));
        assert_eq!(v.rows(1, 1).unwrap().offset(), 9);
        assert!(t.rows(4, 2).is_err());
        assert!(t.rows(usize::MAX, 2).is_err());
    }

    #[test]
    fn sixteen_bit_formats_fill_whole_words() {
        assert_eq!(DType::F16.bytes(3), 8);
        assert_eq!(DType::F32.bytes(3), 12);
    }
}
