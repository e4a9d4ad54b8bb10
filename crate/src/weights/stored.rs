//! What a weight file says of a tensor: its number format, its shape, where it lies; and its bytes as numbers.

use half::{bf16, f16};
use std::ops::Range;

use crate::tensor::DType;

/// Number format of a stored tensor, little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, IEEE.
    F16,
    /// 16-bit floats with the exponent of 32-bit ones.
    BF16,
    /// ggml's blocks of 32 elements: an f16 scale, then 32 signed bytes; an element is their product.
    Q8_0,
    /// Anything else, by the name in the file.
    Other(String),
}

/// Elements and bytes of a block of [`FileDtype::Q8_0`].
const Q8_0: [usize; 2] = [32, 34];

impl FileDtype {
    /// The format with this name in a file.
    pub fn from_name(name: String) -> Self {
        match name.as_str() {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "Q8_0" => Self::Q8_0,
            _ => Self::Other(name),
        }
    }

    /// Name in the file.
    pub fn name(&self) -> &str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Other(name) => name,
        }
    }

    /// Bytes of `elements` elements; `None` where they are no whole blocks, too many, or of a format that cannot be read.
    pub fn bytes(&self, elements: u64) -> Option<u64> {
        let [block, bytes] = match self {
            Self::F32 => [1, 4],
            Self::F16 | Self::BF16 => [1, 2],
            Self::Q8_0 => Q8_0.map(|v| v as u64),
            Self::Other(_) => return None,
        };
        elements.is_multiple_of(block).then(|| (elements / block).checked_mul(bytes)).flatten()
    }

    /// How such a tensor's matrices are kept on the device, where they can be read. Blocks are widened while loading.
    pub fn on_device(&self) -> Option<DType> {
        match self {
            Self::F32 | Self::Q8_0 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::BF16 => Some(DType::Bf16),
            Self::Other(_) => None,
        }
    }

    /// The bytes of such a tensor as numbers; none of a format that cannot be read.
    pub fn to_f32(&self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::Q8_0 => {
                let blocks = bytes.as_chunks::<{ Q8_0[1] }>().0.iter();
                blocks
                    .flat_map(|block| {
                        let [low, high, quants @ ..] = block;
                        let scale = f16::from_le_bytes([*low, *high]).to_f32();
                        quants.map(|q| f32::from(q.cast_signed()) * scale)
                    })
                    .collect()
            }
            Self::Other(_) => Vec::new(),
        }
    }

    /// Index of the first element that is NaN or infinite. An exponent of all ones is one, in every float format.
    pub fn first_not_finite(&self, bytes: &[u8]) -> Option<usize> {
        let half = |b: &[u8; 2]| u16::from_le_bytes(*b) & 0x7c00 == 0x7c00;
        match self {
            Self::F32 => {
                bytes.as_chunks().0.iter().position(|b| u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000)
            }
            Self::F16 => bytes.as_chunks().0.iter().position(half),
            Self::BF16 => bytes.as_chunks().0.iter().position(|b| u16::from_le_bytes(*b) & 0x7f80 == 0x7f80),
            Self::Q8_0 => {
                let mut blocks = bytes.as_chunks::<{ Q8_0[1] }>().0.iter();
                blocks.position(|[low, high, ..]| half(&[*low, *high])).map(|block| block * Q8_0[0])
            }
            Self::Other(_) => None,
        }
    }
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorLocation {
    /// File, inside the model folder.
    pub path: String,
    /// Bytes from the file's start; for the formats that can be read exactly as long as the shape asks for.
    pub range: Range<u64>,
    /// Number format.
    pub dtype: FileDtype,
    /// Extents, the last one contiguous; their product fits 64 bits.
    pub shape: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(scale: f32, quants: impl Fn(usize) -> i8) -> Vec<u8> {
        let mut bytes = f16::from_f32(scale).to_le_bytes().to_vec();
        bytes.extend((0..32).map(|i| quants(i).cast_unsigned()));
        bytes
    }

    #[test]
    fn blocks_are_scale_times_signed_bytes() {
        let bytes =
            [block(0.5, |i| i as i8 - 16), block(-2.0, |i| if i == 31 { -128 } else { 127 })].concat();
        let found = FileDtype::Q8_0.to_f32(&bytes);
        assert_eq!(found.len(), 64);
        assert_eq!((found[0], found[16], found[31], found[32], found[63]), (-8.0, 0.0, 7.5, -254.0, 256.0));
        assert_eq!(FileDtype::Q8_0.bytes(64), Some(68));
        assert_eq!((FileDtype::Q8_0.bytes(40), FileDtype::Q8_0.bytes(u64::MAX - 31)), (None, None));
        assert_eq!(FileDtype::F32.bytes(u64::MAX / 2), None);
    }

    #[test]
    fn values_that_are_not_finite_are_found() {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(FileDtype::F32.first_not_finite(&bytes(&[1., f32::MAX, f32::NAN])), Some(2));
        assert_eq!(FileDtype::F32.first_not_finite(&bytes(&[1., f32::MIN])), None);
        let halves: Vec<u8> = [1f32, 1e9].into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(FileDtype::F16.first_not_finite(&halves), Some(1));
        let blocks = [block(1.0, |_| -1), block(f32::INFINITY, |_| 0)].concat();
        assert_eq!(FileDtype::Q8_0.first_not_finite(&blocks), Some(32));
        assert_eq!(FileDtype::Q8_0.first_not_finite(&blocks[..34]), None);
    }
}
