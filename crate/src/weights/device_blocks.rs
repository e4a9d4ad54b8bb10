//! From ggml's blocks in a file to [`Quants`] on the device: quants, scales and offsets are laid apart, and nothing is rounded. Formats
//! of five and six bits take eight.

use half::f16;

use super::blocks::{Block, half, part_scales};
use crate::quants::{Bits, NEST, Quants};

impl Block {
    /// The format in which matrices of such blocks are kept on the device.
    pub fn on_device(self) -> Quants {
        let eight = Quants { bits: Bits::Eight, group: 32, nested: false, zero: 0 };
        let four = Quants { bits: Bits::Four, ..eight };
        match self {
            Self::Q4_0 => four,
            Self::Q4_1 => Quants { zero: 8, ..four },
            Self::Q4K => Quants { nested: true, zero: 8, ..four },
            Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => eight,
            Self::Q5K => Quants { nested: true, ..eight },
            Self::Q6K => Quants { nested: true, group: 16, ..eight },
        }
    }

    /// Whole blocks for the device. A block that is cut short is left out: its elements are zero.
    pub fn to_device(self, bytes: &[u8]) -> Vec<u8> {
        let format = self.on_device();
        let elements = bytes.len() / self.bytes() * self.elements();
        let [_, scales_at, nests_at, end] = format.sections(elements);
        let mut out = vec![0; end];
        let (quants, rest) = out.split_at_mut(scales_at);
        let (scales, nests) = rest.split_at_mut(nests_at - scales_at);
        let per_block = |section: &[u8]| section.len() / (elements / self.elements()).max(1);
        let (quant_bytes, scale_bytes, nest_bytes) = (per_block(quants), per_block(scales), per_block(nests));
        let sections = quants
            .chunks_exact_mut(quant_bytes.max(1))
            .zip(scales.chunks_exact_mut(scale_bytes.max(1)))
            .zip(bytes.chunks_exact(self.bytes()));
        let mut nests = nests.chunks_exact_mut(nest_bytes.max(1));
        for ((quants, scales), block) in sections {
            self.quants_to_device(block, quants);
            self.scales_to_device(block, scales);
            if let Some(nest) = nests.next() {
                let [scale, offset] = self.outer(block);
                nest.copy_from_slice(&word(scale, offset));
            }
        }
        out
    }

    /// Outer scales of a block of [`NEST`] elements.
    fn outer(self, block: &[u8]) -> [f16; 2] {
        debug_assert_eq!(self.elements(), NEST);
        match self {
            Self::Q6K => [half(block, 208), f16::ZERO],
            // Offsets are subtracted in the file.
            _ => [half(block, 0), -half(block, 2)],
        }
    }

    fn quants_to_device(self, block: &[u8], out: &mut [u8]) {
        let rest = |at: usize| block.get(at..).unwrap_or_default();
        match self {
            Self::Q4_0 => centre(rest(2), out),
            Self::Q4_1 => centre(rest(4), out),
            Self::Q4K => pair_up(rest(16), out),
            Self::Q8_0 => out.copy_from_slice(rest(2)),
            Self::Q5_0 | Self::Q5_1 | Self::Q5K | Self::Q6K => {
                let middle = match self {
                    Self::Q5_0 => 16,
                    Self::Q6K => 32,
                    _ => 0,
                };
                self.each_quant(block, |index, quant| {
                    if let Some(out) = out.get_mut(index) {
                        *out = (quant.cast_signed() - middle).cast_unsigned();
                    }
                });
            }
        }
    }

    fn scales_to_device(self, block: &[u8], out: &mut [u8]) {
        let rest = |at: usize| block.get(at..).unwrap_or_default();
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => {
                out.copy_from_slice(&word(half(block, 0), f16::ZERO));
            }
            Self::Q4_1 | Self::Q5_1 => out.copy_from_slice(&word(half(block, 0), half(block, 2))),
            Self::Q4K | Self::Q5K => {
                for (part, out) in out.chunks_exact_mut(4).enumerate() {
                    let (scale, offset) = part_scales(rest(4), part);
                    out.copy_from_slice(&word(f16::from_f32(scale.into()), f16::from_f32(offset.into())));
                }
            }
            Self::Q6K => {
                for (out, scale) in out.chunks_exact_mut(4).zip(rest(192)) {
                    let scale = f16::from_f32(scale.cast_signed().into());
                    out.copy_from_slice(&word(scale, f16::ZERO));
                }
            }
        }
    }
}

/// Scale and offset as a word.
fn word(scale: f16, offset: f16) -> [u8; 4] {
    let ([a, b], [c, d]) = (scale.to_le_bytes(), offset.to_le_bytes());
    [a, b, c, d]
}

/// 4-bit quants from 0 to 15 as signed ones, 8 less: the upper bit turns over.
fn centre(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from ^ 0x88;
    }
}

/// Parts of Q4_K lie in pairs, one in the low halves of 32 bytes and one in the high ones; on the device each has 16 bytes of its own.
fn pair_up(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.chunks_exact_mut(32).zip(from.chunks_exact(32)) {
        let (first, second) = to.split_at_mut(16);
        let (front, back) = from.split_at(16);
        for ((first, second), (a, b)) in first.iter_mut().zip(second).zip(front.iter().zip(back)) {
            *first = (a & 0x0f | b << 4) ^ 0x88;
            *second = (a >> 4 | b & 0xf0) ^ 0x88;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::FileDtype;

    /// Random blocks with finite scales: what is on the device is, bit for bit, what the file says.
    #[test]
    fn nothing_is_lost_on_the_way() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for block in Block::ALL {
            let (blocks, elements) = (5, 5 * block.elements());
            let mut bytes: Vec<u8> = (0..blocks * block.bytes()).map(|_| byte()).collect();
            while let Some(at) = block.first_not_finite(&bytes) {
                let start = at / block.elements() * block.bytes();
                bytes[start..start + block.bytes()].fill_with(&mut byte);
            }
            let expected = FileDtype::Block(block).to_f32(&bytes);
            let device = block.to_device(&bytes);
            assert_eq!(device.len() as u64, block.on_device().bytes(elements), "{block:?}");
            let mut found = vec![f32::NAN; elements];
            block.on_device().widen(&device, elements, 0, &mut found);
            assert_eq!(found, expected, "{block:?}");
            // A range in the middle.
            let mut part = vec![0.0; 64];
            block.on_device().widen(&device, elements, 96, &mut part);
            assert_eq!(part, expected[96..160], "{block:?}");
        }
    }

    #[test]
    fn blocks_that_are_cut_short_are_left_out() {
        for block in Block::ALL {
            let bytes = vec![1; 2 * block.bytes() - 1];
            assert_eq!(block.to_device(&bytes).len() as u64, block.on_device().bytes(block.elements()));
            assert!(block.to_device(&[]).is_empty());
        }
    }
}
