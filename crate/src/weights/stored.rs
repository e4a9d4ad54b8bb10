//! What a weight file says of a tensor: its number format, its shape, where it lies; and its bytes as numbers.

use half::{bf16, f16};
use std::ops::Range;

use super::blocks::Block;

/// Number format of a stored tensor, little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, IEEE.
    F16,
    /// 16-bit floats with the exponent of 32-bit ones.
    BF16,
    /// 8-bit floats with 4 bits of exponent, the E4M3 of OCP's "8-bit Floating Point Specification": no infinities.
    F8E4M3,
    /// 8-bit floats with 5 bits of exponent: the upper half of an F16.
    F8E5M2,
    /// ggml's blocks.
    Block(Block),
    /// Anything else, by the name in the file.
    Other(String),
}

impl FileDtype {
    /// The format with this name in a file.
    pub fn from_name(name: String) -> Self {
        match name.as_str() {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "F8_E4M3" => Self::F8E4M3,
            "F8_E5M2" => Self::F8E5M2,
            _ => match Block::ALL.into_iter().find(|block| block.name() == name) {
                Some(block) => Self::Block(block),
                None => Self::Other(name),
            },
        }
    }

    /// Name in the file.
    pub fn name(&self) -> &str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::Block(block) => block.name(),
            Self::Other(name) => name,
        }
    }

    /// Bytes of `elements` elements; `None` where they are no whole blocks, too many, or of a format that cannot be read.
    pub fn bytes(&self, elements: u64) -> Option<u64> {
        let [block, bytes] = match self {
            Self::F32 => [1, 4],
            Self::F16 | Self::BF16 => [1, 2],
            Self::F8E4M3 | Self::F8E5M2 => [1, 1],
            Self::Block(block) => [block.elements() as u64, block.bytes() as u64],
            Self::Other(_) => return None,
        };
        elements.is_multiple_of(block).then(|| (elements / block).checked_mul(bytes)).flatten()
    }

    /// Whether such tensors can be read.
    pub fn is_readable(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// The bytes of such a tensor as numbers; none of a format that cannot be read.
    pub fn to_f32(&self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::F8E4M3 | Self::F8E5M2 => self.halves(bytes).map(f16::to_f32).collect(),
            Self::Block(block) => block.to_f32(bytes),
            Self::Other(_) => Vec::new(),
        }
    }

    /// The bytes of 8-bit floats as 16-bit ones, which hold all of their values.
    pub(super) fn halves(&self, bytes: &[u8]) -> impl Iterator<Item = f16> {
        let widen = match self {
            Self::F8E4M3 => |byte: u8| e4m3(byte),
            _ => |byte: u8| f16::from_bits(u16::from(byte) << 8),
        };
        bytes.iter().map(move |byte| widen(*byte))
    }

    /// Index of the first element that is NaN or infinite. An exponent of all ones is one, in every float format but E4M3, where only all
    /// bits together are.
    pub fn first_not_finite(&self, bytes: &[u8]) -> Option<usize> {
        let half = |b: &[u8; 2]| u16::from_le_bytes(*b) & 0x7c00 == 0x7c00;
        match self {
            Self::F32 => {
                bytes.as_chunks().0.iter().position(|b| u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000)
            }
            Self::F16 => bytes.as_chunks().0.iter().position(half),
            Self::BF16 => bytes.as_chunks().0.iter().position(|b| u16::from_le_bytes(*b) & 0x7f80 == 0x7f80),
            Self::F8E4M3 => bytes.iter().position(|b| b & 0x7f == 0x7f),
            Self::F8E5M2 => bytes.iter().position(|b| b & 0x7c == 0x7c),
            Self::Block(block) => block.first_not_finite(bytes),
            Self::Other(_) => None,
        }
    }
}

/// A float of 4 exponent bits, biased by 7, and 3 bits of mantissa; all of them ones is NaN.
fn e4m3(byte: u8) -> f16 {
    let bits = u16::from(byte & 0x7f);
    // In place as an F16 it is 2^8 times too small, by the difference of the biases; subnormals too.
    let magnitude = match bits {
        0x7f => f16::NAN,
        _ => f16::from_f32(f16::from_bits(bits << 7).to_f32() * 256.0),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
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

    #[test]
    fn lengths_are_those_of_whole_blocks() {
        let q8 = FileDtype::from_name("Q8_0".into());
        assert_eq!((q8.bytes(64), q8.bytes(40), q8.bytes(u64::MAX - 31)), (Some(68), None, None));
        assert_eq!(FileDtype::from_name("Q6_K".into()).bytes(512), Some(420));
        assert_eq!(FileDtype::F32.bytes(u64::MAX / 2), None);
        for name in ["F32", "BF16", "F8_E4M3", "F8_E5M2", "Q4_1", "Q5_K", "Q3_K"] {
            assert_eq!(FileDtype::from_name(name.into()).name(), name);
        }
    }

    /// The extremes of OCP's specification, and every value's neighbours in order.
    #[test]
    fn eight_bit_floats() {
        let [e4, e5] = [FileDtype::F8E4M3, FileDtype::F8E5M2];
        assert_eq!(
            e4.to_f32(&[0x00, 0x01, 0x07, 0x08, 0x38, 0x7e, 0xfe, 0xb9]),
            [0.0, 2f32.powi(-9), 7.0 * 2f32.powi(-9), 2f32.powi(-6), 1.0, 448.0, -448.0, -1.125]
        );
        assert_eq!(
            e5.to_f32(&[0x00, 0x01, 0x04, 0x3c, 0x7b, 0xbd]),
            [0.0, 2f32.powi(-16), 2f32.powi(-14), 1.0, 57344.0, -1.25]
        );
        for (format, largest) in [(&e4, 0x7e), (&e5, 0x7b)] {
            let rising = format.to_f32(&(0..=largest).collect::<Vec<u8>>());
            assert!(rising.is_sorted_by(|a, b| a < b));
            assert_eq!(format.first_not_finite(&[0, 0x80 | largest]), None);
            assert_eq!(format.first_not_finite(&[0, largest, 0x80 | (largest + 1)]), Some(2));
        }
    }

    /// Random blocks and all 8-bit floats, as gguf-py and torch read them. Both multiply in f32, in this order: the same bits.
    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn formats_are_read_as_others_read_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/number_formats.safetensors");
        let file = std::fs::read(path).unwrap();
        let golden = safetensors::SafeTensors::deserialize(&file).unwrap();
        let names: Vec<_> = golden.names().iter().filter_map(|name| name.strip_suffix(".bytes")).collect();
        assert_eq!(names.len(), Block::ALL.len() + 2);
        for name in names {
            let dtype = FileDtype::from_name(name.to_owned());
            let bytes = golden.tensor(&format!("{name}.bytes")).unwrap().data();
            let values = FileDtype::F32.to_f32(golden.tensor(&format!("{name}.values")).unwrap().data());
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(dtype.to_f32(bytes)), bits(values), "{name}");
            assert_eq!(dtype.first_not_finite(bytes), None, "{name}");
        }
    }

    #[test]
    fn values_that_are_not_finite_are_found() {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(FileDtype::F32.first_not_finite(&bytes(&[1., f32::MAX, f32::NAN])), Some(2));
        assert_eq!(FileDtype::F32.first_not_finite(&bytes(&[1., f32::MIN])), None);
        let halves: Vec<u8> = [1f32, 1e9].into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(FileDtype::F16.first_not_finite(&halves), Some(1));
    }
}
