//! Quantised matrices as kernels read them: ggml's blocks with their parts laid apart.
//!
//! A matrix of N outputs by K inputs lies as in torch, a row of K an output, K a multiple of the group, in three sections of 32-bit words:
//!
//! - quants, signed, in the order of the elements with 8 bits; with 4 bits a group of 32 is 16 bytes, of which byte i has element i
//!   in its low and element 16 + i in its high half;
//! - a word a group: scale, and above it offset, as f16;
//! - with `nested` a word for 256 elements: what scales, and what offsets are multiplied with, as f16.
//!
//! An element is `(quant + zero) * scale + offset`. Nothing is lost against ggml's own: every product is exact in f32.

use half::f16;

/// Elements that the outer scales of nested formats are for.
pub const NEST: usize = 256;

/// A format of quantised matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quants {
    /// Bits of a quant.
    pub bits: Bits,
    /// Elements that share a scale, a power of two: 16 or 32; 32 with 4 bits.
    pub group: usize,
    /// Whether scales and offsets are multiplied with others, one of each for [`NEST`] elements.
    pub nested: bool,
    /// What is added to a quant first.
    pub zero: u8,
}

/// Bits of a quant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// -8 to 7.
    Four,
    /// -128 to 127.
    Eight,
}

impl Quants {
    /// Elements that a row is a multiple of.
    pub fn block(self) -> usize {
        if self.nested { NEST } else { 32 }
    }

    /// First bytes of the sections of `elements` elements, and the end of the last: quants, scales, outer scales.
    pub fn sections(self, elements: usize) -> [usize; 4] {
        let scales = match self.bits {
            Bits::Four => elements.div_ceil(2),
            Bits::Eight => elements,
        };
        let nests = scales + elements.div_ceil(self.group) * 4;
        let end = if self.nested { nests + elements.div_ceil(NEST) * 4 } else { nests };
        [0, scales, nests, end]
    }

    /// Bytes of `elements` elements, which are whole groups.
    pub fn bytes(self, elements: usize) -> u64 {
        let [.., end] = self.sections(elements);
        end as u64
    }

    /// Elements from `first` on, whole groups, of a matrix of `elements` in all that lies in `bytes`.
    ///
    /// What is not inside of `bytes` is left as it is in `out`.
    pub fn widen(self, bytes: &[u8], elements: usize, first: usize, out: &mut [f32]) {
        let [_, scales, nests, _] = self.sections(elements);
        let pair = |section: usize, index: usize| {
            let at = section + index * 4;
            match bytes.get(at..at + 4) {
                Some(&[a, b, c, d]) => {
                    [f16::from_le_bytes([a, b]).to_f32(), f16::from_le_bytes([c, d]).to_f32()]
                }
                _ => [0.0; 2],
            }
        };
        let zero = f32::from(self.zero);
        for (index, out) in out.chunks_exact_mut(self.group).enumerate() {
            let element = first + index * self.group;
            let [mut scale, mut offset] = pair(scales, element / self.group);
            if self.nested {
                let [outer_scale, outer_offset] = pair(nests, element / NEST);
                (scale, offset) = (scale * outer_scale, offset * outer_offset);
            }
            let value = |quant: i8| (f32::from(quant) + zero) * scale + offset;
            match self.bits {
                Bits::Eight => {
                    let quants = bytes.get(element..element + self.group).unwrap_or_default();
                    for (out, byte) in out.iter_mut().zip(quants) {
                        *out = value(byte.cast_signed());
                    }
                }
                Bits::Four => {
                    let quants = bytes.get(element / 2..(element + self.group) / 2).unwrap_or_default();
                    let (low, high) = out.split_at_mut(self.group / 2);
                    for ((low, high), byte) in low.iter_mut().zip(high).zip(quants) {
                        *low = value((byte << 4).cast_signed() >> 4);
                        *high = value(byte.cast_signed() >> 4);
                    }
                }
            }
        }
    }
}
