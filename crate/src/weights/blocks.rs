//! ggml's quantised blocks as numbers (ggml's `ggml-common.h` and `dequantize_row_*` of `ggml-quants.c`).
//!
//! A block is a run of neighbouring elements of a row with one or two f16 scales of its own: 32 elements in the older formats, 256 in the
//! "K" ones, which divide them again into parts with scales of a few bits. Rows are whole blocks.

use half::f16;

/// A format of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// 4 bits, a scale; from -8 to 7 times it.
    Q4_0,
    /// 4 bits, a scale and an offset.
    Q4_1,
    /// 5 bits, a scale; from -16 to 15 times it.
    Q5_0,
    /// 5 bits, a scale and an offset.
    Q5_1,
    /// 8 bits, a scale.
    Q8_0,
    /// 4 bits; eight parts with a scale and an offset of 6 bits each.
    Q4K,
    /// 5 bits; as Q4_K.
    Q5K,
    /// 6 bits; sixteen parts with a scale of 8 bits each.
    Q6K,
}

/// Name in a file, elements and bytes of a block, and where its f16 scales are, which every element depends on.
type Facts = (&'static str, usize, usize, &'static [usize]);

impl Block {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K];

    fn facts(self) -> Facts {
        match self {
            Self::Q4_0 => ("Q4_0", 32, 18, &[0]),
            Self::Q4_1 => ("Q4_1", 32, 20, &[0, 2]),
            Self::Q5_0 => ("Q5_0", 32, 22, &[0]),
            Self::Q5_1 => ("Q5_1", 32, 24, &[0, 2]),
            Self::Q8_0 => ("Q8_0", 32, 34, &[0]),
            Self::Q4K => ("Q4_K", 256, 144, &[0, 2]),
            Self::Q5K => ("Q5_K", 256, 176, &[0, 2]),
            Self::Q6K => ("Q6_K", 256, 210, &[208]),
        }
    }

    /// Name in the file.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Elements of a block.
    pub fn elements(self) -> usize {
        self.facts().1
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.facts().2
    }

    /// Whole blocks as numbers; bytes of a block that is cut short are left out.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::with_capacity(bytes.len() / self.bytes() * self.elements());
        for block in bytes.chunks_exact(self.bytes()) {
            self.widen(block, &mut out);
        }
        out
    }

    /// Index of the first element whose block has a scale that is NaN or infinite.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        let (_, elements, len, scales) = self.facts();
        let mut blocks = bytes.chunks_exact(len);
        let block = blocks.position(|block| scales.iter().any(|at| !half(block, *at).is_finite()))?;
        Some(block * elements)
    }

    fn widen(self, block: &[u8], out: &mut Vec<f32>) {
        let scale = |index: usize| self.facts().3.get(index).map_or(0.0, |at| half(block, *at).to_f32());
        let (d, m) = (scale(0), scale(1));
        let rest = |at: usize| block.get(at..).unwrap_or_default();
        let first = out.len();
        out.resize(first + self.elements(), 0.0);
        let out = out.get_mut(first..).unwrap_or_default();
        self.each_quant(block, |index, quant| {
            let q = f32::from(quant);
            let value = match self {
                Self::Q4_0 => (q - 8.0) * d,
                Self::Q5_0 => (q - 16.0) * d,
                Self::Q4_1 | Self::Q5_1 => q * d + m,
                Self::Q8_0 => f32::from(quant.cast_signed()) * d,
                Self::Q4K | Self::Q5K => {
                    let (scale, offset) = part_scales(rest(4), index / 32);
                    q * (d * f32::from(scale)) - m * f32::from(offset)
                }
                Self::Q6K => {
                    let scale = rest(192).get(index / 16).copied().unwrap_or(0).cast_signed();
                    d * f32::from(scale) * (q - 32.0)
                }
            };
            if let Some(out) = out.get_mut(index) {
                *out = value;
            }
        });
    }

    /// Calls `quant` with the index and the bits of every element of a block.
    pub(super) fn each_quant(self, block: &[u8], mut quant: impl FnMut(usize, u8)) {
        let rest = |at: usize| block.get(at..).unwrap_or_default();
        let byte = |from: &[u8], at: usize| from.get(at).copied().unwrap_or(0);
        match self {
            Self::Q4_0 => nibbles(rest(2)).enumerate().for_each(|(k, q)| quant(k, q)),
            Self::Q4_1 => nibbles(rest(4)).enumerate().for_each(|(k, q)| quant(k, q)),
            Self::Q5_0 => five_bits(rest(2)).enumerate().for_each(|(k, q)| quant(k, q)),
            Self::Q5_1 => five_bits(rest(4)).enumerate().for_each(|(k, q)| quant(k, q)),
            Self::Q8_0 => rest(2).iter().enumerate().for_each(|(k, q)| quant(k, *q)),
            Self::Q4K | Self::Q5K => {
                let (high, low) = match self {
                    Self::Q5K => (rest(16), rest(48)),
                    _ => (&[][..], rest(16)),
                };
                for part in 0..8 {
                    // Two parts share 32 bytes: the first one has the low nibbles, the second one the high ones.
                    for (k, both) in low.iter().skip(part / 2 * 32).take(32).enumerate() {
                        let fifth = (byte(high, k) >> part & 1) << 4;
                        quant(part * 32 + k, both >> (part % 2 * 4) & 15 | fifth);
                    }
                }
            }
            Self::Q6K => {
                let (low, high) = (rest(0), rest(128));
                for index in 0..256 {
                    // Halves of 128; in each, four runs of 32 that share the bytes of their upper bits.
                    let (half, run, k) = (index / 128, index / 32 % 4, index % 32);
                    let four = byte(low, half * 64 + run % 2 * 32 + k) >> (run / 2 * 4) & 15;
                    let two = byte(high, half * 32 + k) >> (run * 2) & 3;
                    quant(index, four | two << 4);
                }
            }
        }
    }
}

pub(super) fn half(block: &[u8], at: usize) -> f16 {
    block.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(f16::ZERO, f16::from_le_bytes)
}

/// The low nibbles of 16 bytes, then the high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let bytes = bytes.get(..16).unwrap_or_default();
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// Four bytes with the fifth bits of 32 elements, then their nibbles.
fn five_bits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let fifth = bytes.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let low = nibbles(bytes.get(4..).unwrap_or_default());
    low.enumerate().map(move |(k, nibble)| nibble | ((fifth >> k & 1) as u8) << 4)
}

/// Scale and offset, 6 bits each, of one of eight parts, from the twelve bytes that they are packed in.
pub(super) fn part_scales(packed: &[u8], part: usize) -> (u8, u8) {
    let byte = |at: usize| packed.get(at).copied().unwrap_or(0);
    match part {
        0..4 => (byte(part) & 63, byte(part + 4) & 63),
        _ => {
            let both = byte(part + 4);
            (both & 15 | byte(part - 4) >> 6 << 4, both >> 4 | byte(part) >> 6 << 4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_scale_times_signed_bytes() {
        let block = |scale: f32, quants: [i8; 32]| {
            let mut bytes = f16::from_f32(scale).to_le_bytes().to_vec();
            bytes.extend(quants.map(i8::cast_unsigned));
            bytes
        };
        let bytes = [block(0.5, std::array::from_fn(|i| i as i8 - 16)), block(-2.0, [-128; 32])].concat();
        let found = Block::Q8_0.to_f32(&bytes);
        assert_eq!(found.len(), 64);
        assert_eq!((found[0], found[16], found[31], found[32]), (-8.0, 0.0, 7.5, 256.0));
    }

    #[test]
    fn a_scale_that_is_not_finite_is_found_and_a_cut_block_left_out() {
        for format in Block::ALL {
            let (_, elements, len, scales) = format.facts();
            let mut bytes = vec![0; 3 * len - 1];
            assert_eq!(format.first_not_finite(&bytes), None);
            assert_eq!(format.to_f32(&bytes).len(), 2 * elements, "{format:?}");
            for at in scales {
                bytes[len + at + 1] = 0x7c;
                assert_eq!(format.first_not_finite(&bytes), Some(elements), "{format:?}");
                bytes[len + at + 1] = 0;
            }
        }
    }
}
