//! From torch's order of a weight to the one that the kernels read.
//!
//! Kernels read matrices as `[K, stride]` (K = inputs, stride = outputs rounded up to 4), so that four neighbouring
//! outputs are one vector load; torch keeps `[N, C, ...]`. The order changes once, while loading; the number format stays where kernels read
//! it, and is widened where they do not. Quantised matrices keep torch's order, in which their blocks run.

use half::f16;

use super::stored::{FileDtype, TensorLocation};
use crate::ops::LinearWeight;
use crate::tensor::DType;

/// What happens to a tensor between the file and the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Flattened, converted to f32.
    Flat,
    /// Outputs `start..start + count` of `[N, C, kernel...]` as `[kernel... * C, stride]`, C innermost: linear layers (no kernel)
    /// and convolutions.
    Matrix {
        /// First output.
        start: usize,
        /// Outputs.
        count: usize,
    },
    /// As `Matrix`, but with the kernel innermost, `[C * kernel..., stride]`: the patch embedding, whose input rows are patches in
    /// the weight's own order.
    Patches {
        /// First output.
        start: usize,
        /// Outputs.
        count: usize,
    },
    /// All outputs of `[N, frames * C, kernel...]`, whose inputs are frames stacked as channels, as `[frames, kernel..., C, stride]`: a
    /// convolution of several frames.
    Frames {
        /// Frames.
        frames: usize,
    },
}

impl Layout {
    /// `[K, stride]` for a weight of torch shape `[N, C, kernel...]`.
    pub fn matrix(self, shape: &[usize]) -> [usize; 2] {
        match self {
            Self::Flat => [1, shape.iter().product()],
            Self::Frames { .. } => {
                let count = shape.first().copied().unwrap_or(0);
                [shape.iter().skip(1).product(), LinearWeight::stride(count)]
            }
            Self::Matrix { count, .. } | Self::Patches { count, .. } => {
                [shape.iter().skip(1).product(), LinearWeight::stride(count)]
            }
        }
    }

    /// The rows of the file's tensor that this is about, as a tensor of their own, where they can be read alone.
    pub fn narrow(self, location: &TensorLocation) -> (Self, TensorLocation) {
        let row: usize = location.shape.iter().skip(1).product();
        let (start, count, alone) = match self {
            Self::Flat | Self::Frames { .. } => return (self, location.clone()),
            Self::Matrix { start, count } => (start, count, Self::Matrix { start: 0, count }),
            Self::Patches { start, count } => (start, count, Self::Patches { start: 0, count }),
        };
        let Some(row_bytes) = location.dtype.bytes(row as u64) else { return (self, location.clone()) };
        let mut narrow = location.clone();
        narrow.range.start += start as u64 * row_bytes;
        narrow.range.end = narrow.range.start + count as u64 * row_bytes;
        if let Some(rows) = narrow.shape.first_mut() {
            *rows = count;
        }
        (alone, narrow)
    }

    /// The format in which the kernels read a weight of torch shape `shape`: its file's, or the nearest that loses nothing; `None` where
    /// it cannot be read. Blocks stay blocks in matrices of two extents, whose rows they divide; 8-bit floats become f16, and what is
    /// multiplied with a scale f32.
    pub fn on_device(self, dtype: &FileDtype, shape: &[usize], scaled: bool) -> Option<DType> {
        Some(match (self, dtype) {
            (_, FileDtype::Other(_)) => return None,
            (Self::Flat, _) => DType::F32,
            _ if scaled => DType::F32,
            (Self::Matrix { .. }, FileDtype::Block(block)) if matches!(shape, [_, k] if k % block.elements() == 0) => {
                DType::Quants(block.on_device())
            }
            (_, FileDtype::F32 | FileDtype::Block(_)) => DType::F32,
            (_, FileDtype::F16 | FileDtype::F8E4M3 | FileDtype::F8E5M2) => DType::F16,
            (_, FileDtype::BF16) => DType::Bf16,
        })
    }

    /// The extents of a weight of torch shape `shape` on the device, in this format.
    pub fn shape(self, dtype: DType, shape: &[usize]) -> [usize; 2] {
        match (self, dtype) {
            (Self::Matrix { count, .. }, DType::Quants(_)) => [count, shape.iter().skip(1).product()],
            _ => self.matrix(shape),
        }
    }

    /// The bytes for the device of a weight of torch shape `shape`, from the file's bytes, in the format that
    /// [`Layout::on_device`] names.
    ///
    /// `bytes` must hold exactly the tensor; a shorter slice gives zeros for what is missing. With a `scale` every element is multiplied
    /// with it, and the format is f32.
    pub fn repack(self, bytes: &[u8], dtype: &FileDtype, shape: &[usize], scale: Option<f32>) -> Vec<u8> {
        let widened = || {
            let values = dtype.to_f32(bytes).into_iter();
            values.flat_map(|value| (value * scale.unwrap_or(1.0)).to_le_bytes()).collect::<Vec<u8>>()
        };
        if let (Some(DType::Quants(_)), Self::Matrix { start, count }, FileDtype::Block(block)) =
            (self.on_device(dtype, shape, scale.is_some()), self, dtype)
        {
            let row = shape.iter().skip(1).product::<usize>() / block.elements() * block.bytes();
            let rows = bytes.get(start * row..bytes.len().min((start + count) * row));
            return block.to_device(rows.unwrap_or_default());
        }
        match (self, dtype) {
            (Self::Flat, _) => widened(),
            _ if scale.is_some() => self.transpose::<4>(&widened(), shape),
            (_, FileDtype::F32) => self.transpose::<4>(bytes, shape),
            (_, FileDtype::F16 | FileDtype::BF16) => self.transpose::<2>(bytes, shape),
            (_, FileDtype::F8E4M3 | FileDtype::F8E5M2) => self
                .transpose::<2>(&dtype.halves(bytes).flat_map(f16::to_le_bytes).collect::<Vec<u8>>(), shape),
            (_, FileDtype::Block(_) | FileDtype::Other(_)) => self.transpose::<4>(&widened(), shape),
        }
    }

    fn transpose<const SIZE: usize>(self, bytes: &[u8], shape: &[usize]) -> Vec<u8> {
        let (start, count, frames) = match self {
            Self::Flat => return bytes.to_vec(),
            Self::Matrix { start, count } => (start, count, Some(1)),
            Self::Patches { start, count } => (start, count, None),
            Self::Frames { frames } => (0, shape.first().copied().unwrap_or(0), Some(frames)),
        };
        let [k, stride] = self.matrix(shape);
        let channels = shape.get(1).copied().unwrap_or(1).max(1);
        let taps = k / channels;
        // Of one frame.
        let channels = frames.map(|frames| (channels / frames.max(1)).max(1));
        let mut out = vec![0; k * stride * SIZE];
        let (elements, _) = bytes.as_chunks::<SIZE>();
        let (packed, _) = out.as_chunks_mut::<SIZE>();
        for (n, row) in elements.chunks_exact(k.max(1)).skip(start).take(count).enumerate() {
            for (i, value) in row.iter().enumerate() {
                let (c, tap) = (i / taps, i % taps);
                let at = match channels {
                    Some(channels) => (c / channels * taps + tap) * channels + c % channels,
                    None => i,
                };
                packed[at * stride + n] = *value;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Block;
    use super::*;

    fn floats(bytes: &[u8]) -> Vec<f32> {
        FileDtype::F32.to_f32(bytes)
    }

    fn bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn a_linear_weight_is_transposed_and_padded() {
        let w = bytes((0..6).map(|v| v as f32)); // [N = 3, K = 2]
        let out = Layout::Matrix { start: 0, count: 3 }.repack(&w, &FileDtype::F32, &[3, 2], None);
        assert_eq!(floats(&out), [0., 2., 4., 0., 1., 3., 5., 0.]);
        let slab = Layout::Matrix { start: 1, count: 2 }.repack(&w, &FileDtype::F32, &[3, 2], None);
        assert_eq!(floats(&slab), [2., 4., 0., 0., 3., 5., 0., 0.]);
    }

    #[test]
    fn a_convolution_has_its_channels_innermost_and_patches_have_not() {
        let w = bytes((0..12).map(|v| v as f32)); // [N = 2, C = 3, 1, 1, 2]
        let shape = [2, 3, 1, 1, 2];
        let conv = floats(&Layout::Matrix { start: 0, count: 2 }.repack(&w, &FileDtype::F32, &shape, None));
        let first_output: Vec<f32> = conv.iter().step_by(4).copied().collect();
        assert_eq!(first_output, [0., 2., 4., 1., 3., 5.]);
        let patches =
            floats(&Layout::Patches { start: 0, count: 2 }.repack(&w, &FileDtype::F32, &shape, None));
        let second_output: Vec<f32> = patches.iter().skip(1).step_by(4).copied().collect();
        assert_eq!(second_output, [6., 7., 8., 9., 10., 11.]);
    }

    #[test]
    fn frames_stacked_as_channels_are_taken_apart() {
        let w = bytes((0..24).map(|v| v as f32)); // [N = 2, 2 frames x C = 2, 1, 3]
        let shape = [2, 4, 1, 3];
        let layout = Layout::Frames { frames: 2 };
        assert_eq!(layout.matrix(&shape), [12, 4]);
        let out = floats(&layout.repack(&w, &FileDtype::F32, &shape, None));
        let first_output: Vec<f32> = out.iter().step_by(4).copied().collect();
        assert_eq!(first_output, [0., 3., 1., 4., 2., 5., 6., 9., 7., 10., 8., 11.]);
        assert_eq!(out[1..4], [12., 0., 0.]);
    }

    #[test]
    fn sixteen_bit_weights_keep_their_format() {
        let w: Vec<u8> = [1.5f32, -2.0].into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
        let out = Layout::Matrix { start: 0, count: 1 }.repack(&w, &FileDtype::F16, &[1, 2], None);
        assert_eq!(FileDtype::F16.to_f32(&out), [1.5, 0., 0., 0., -2., 0., 0., 0.]);
        assert_eq!(floats(&Layout::Flat.repack(&w, &FileDtype::F16, &[2], None)), [1.5, -2.0]);
    }

    #[test]
    fn eight_bit_floats_become_halves() {
        let out =
            Layout::Matrix { start: 0, count: 2 }.repack(&[0x38, 0xc0], &FileDtype::F8E4M3, &[2, 1], None);
        assert_eq!(FileDtype::F16.to_f32(&out), [1.0, -2.0, 0.0, 0.0]);
        let scaled = Layout::Matrix { start: 0, count: 2 }.repack(
            &[0x38, 0xc0],
            &FileDtype::F8E4M3,
            &[2, 1],
            Some(0.1),
        );
        assert_eq!(floats(&scaled), [0.1, -0.2, 0.0, 0.0]);
    }

    #[test]
    fn blocks_are_widened_before_they_change_their_order() {
        // [N = 4, K = 16]: a block spans two rows.
        let block = |scale: f32, first: i8| {
            let quants = (0..32).map(move |i| (first + i).cast_unsigned());
            f16::from_f32(scale).to_le_bytes().into_iter().chain(quants)
        };
        let w: Vec<u8> = block(1.0, 0).chain(block(0.25, -32)).collect();
        let out = floats(&Layout::Matrix { start: 1, count: 3 }.repack(
            &w,
            &FileDtype::Block(Block::Q8_0),
            &[4, 16],
            None,
        ));
        assert_eq!(out.len(), 64);
        assert_eq!(out[..8], [16., -8., -4., 0., 17., -7.75, -3.75, 0.]);
    }
}
