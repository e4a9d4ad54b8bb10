//! Random weights in any number format, made as they are stored: nothing is quantised.
//!
//! A matrix has the variance 1 / inputs, so that it keeps the size of what goes through; norms are near 1, biases near 0.

use half::f16;
use kinetoscope::sampling::Mt19937;
use kinetoscope::weights::FileDtype;
use kinetoscope::weights::blocks::Block;
use kinetoscope::weights::gguf_writer::GgufTensor;
use kinetoscope::weights::quantise::{pack_scales, quantise};
use kinetoscope::{Error, Result};

/// Bytes that are made at once, about.
const PIECE: usize = 4 << 20;

/// Different sets of scales in a tensor of blocks.
const SCALES: usize = 64;

/// Different values in a tensor of floats.
const LEVELS: usize = 256;

/// Standard deviation of whole numbers that are equally likely from 0 to `levels - 1`.
fn deviation(levels: f32) -> f32 {
    ((levels * levels - 1.0) / 12.0).sqrt()
}

/// Makes one tensor after the other.
pub struct Weights {
    random: Mt19937,
}

impl Weights {
    /// From a seed, of which 32 bits count.
    pub fn new(seed: u64) -> Self {
        Self { random: Mt19937::new(seed) }
    }

    /// The `bytes` bytes of a tensor.
    ///
    /// # Errors
    /// What `put` reports; [`Error::TensorDtype`] for a format that cannot be written.
    pub fn write(
        &mut self,
        tensor: &GgufTensor,
        bytes: u64,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let inputs: usize = tensor.shape.iter().skip(1).product();
        let (mean, deviation) = match () {
            _ if tensor.name.contains("norm") && !tensor.name.ends_with("bias") => (1.0, 0.1),
            _ if tensor.shape.len() < 2 => (0.0, 0.02),
            // Rows of a table are not summed.
            _ if tensor.name.ends_with("shared.weight") => (0.0, 1.0),
            _ if tensor.name.contains("scale_shift_table") => (0.0, 0.1),
            _ => (0.0, 1.0 / (inputs.max(1) as f32).sqrt()),
        };
        match tensor.dtype {
            FileDtype::Block(block) => self.blocks(block, deviation, bytes, put),
            _ => {
                let levels = (0..LEVELS).map(|level| {
                    let centred = level as f32 - (LEVELS - 1) as f32 / 2.0;
                    mean + centred * deviation / self::deviation(LEVELS as f32)
                });
                let levels: Vec<f32> = levels.collect();
                match quantise(&levels, &tensor.dtype).map(|bytes| (bytes.len() / LEVELS, bytes)) {
                    Some((4, levels)) => self.floats::<4>(&levels, bytes, put),
                    Some((2, levels)) => self.floats::<2>(&levels, bytes, put),
                    _ => Err(Error::TensorDtype {
                        component: "synth".into(),
                        tensor: tensor.name.clone(),
                        found: tensor.dtype.name().into(),
                    }),
                }
            }
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<4>();
        for word in words {
            *word = self.random.next_u32().to_le_bytes();
        }
        let last = self.random.next_u32().to_le_bytes();
        rest.iter_mut().zip(last).for_each(|(byte, random)| *byte = random);
    }

    /// Each element one of the `levels`.
    fn floats<const SIZE: usize>(
        &mut self,
        levels: &[u8],
        bytes: u64,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (levels, _) = levels.as_chunks::<SIZE>();
        let mut random = vec![0; PIECE / SIZE];
        let mut left = bytes as usize / SIZE;
        let mut out: Vec<u8> = Vec::with_capacity(PIECE);
        while left > 0 {
            let count = left.min(random.len());
            self.fill(&mut random);
            out.clear();
            let chosen = random.iter().take(count).filter_map(|index| levels.get(usize::from(*index)));
            chosen.for_each(|level| out.extend(level));
            put(&out)?;
            left -= count;
        }
        Ok(())
    }

    /// Blocks whose quants are random bits, and whose scales are from a list.
    fn blocks(
        &mut self,
        block: Block,
        deviation: f32,
        bytes: u64,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (at, _) = scales(block, deviation, &mut |_, _| 0.0);
        let all: Vec<Vec<u8>> = (0..SCALES)
            .map(|_| {
                let mut between = |low: f32, high: f32| low + (high - low) * self.random.uniform_f32();
                scales(block, deviation, &mut between).1
            })
            .collect();
        let mut piece = vec![0; PIECE / block.bytes() * block.bytes()];
        let mut left = bytes as usize;
        while left > 0 {
            let count = left.min(piece.len());
            self.fill(&mut piece);
            for block in piece.chunks_exact_mut(block.bytes()) {
                let place = block.get_mut(at..).unwrap_or_default();
                let choice = place.first().map_or(0, |byte| usize::from(*byte)) % SCALES;
                let scales = all.get(choice).map(Vec::as_slice).unwrap_or_default();
                place.iter_mut().zip(scales).for_each(|(byte, scale)| *byte = *scale);
            }
            put(piece.get(..count).unwrap_or_default())?;
            left -= count;
        }
        Ok(())
    }
}

/// Where a block's scales begin, and their bytes, for elements of this deviation about 0. `between` gives random numbers.
fn scales(block: Block, deviation: f32, between: &mut dyn FnMut(f32, f32) -> f32) -> (usize, Vec<u8>) {
    let half = |value: f32| f16::from_f32(value).to_le_bytes();
    let step = |levels: f32| deviation / self::deviation(levels);
    match block {
        // Quants go a step further down than up: a scale is as often negative, so that the mean is 0.
        Block::Q8_0 | Block::Q4_0 | Block::Q5_0 => {
            let levels = match block {
                Block::Q8_0 => 256.0,
                Block::Q5_0 => 32.0,
                _ => 16.0,
            };
            let sign = between(-1.0, 1.0).signum();
            (0, half(step(levels) * between(0.8, 1.2) * sign).to_vec())
        }
        Block::Q4_1 | Block::Q5_1 => {
            let levels = if block == Block::Q4_1 { 16.0 } else { 32.0 };
            let d = step(levels) * between(0.8, 1.2);
            (0, [half(d), half(-d * (levels - 1.0) / 2.0)].concat())
        }
        Block::Q4K | Block::Q5K => {
            let levels = if block == Block::Q4K { 16.0 } else { 32.0 };
            // 48 is the middle of the parts' scales; an offset of as many of its own takes off the mean.
            let d = step(levels) / 48.0;
            let parts = std::array::from_fn(|_| [between(33.0, 64.0) as u8; 2]);
            let mut bytes = [half(d), half(d * (levels - 1.0) / 2.0)].concat();
            bytes.extend(pack_scales(parts));
            (0, bytes)
        }
        Block::Q6K => {
            let parts = (0..16).map(|_| between(-127.0, 127.0) as i8);
            let mut bytes: Vec<u8> = parts.map(i8::cast_unsigned).collect();
            // The root of the mean square of those.
            bytes.extend(half(step(64.0) / (127.0 / 3f32.sqrt())));
            (192, bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(dtype: &str, name: &str, shape: &[usize]) -> Vec<f32> {
        let dtype = FileDtype::from_name(dtype.into());
        let tensor = GgufTensor { name: name.into(), shape: shape.into(), dtype };
        let mut all = Vec::new();
        let mut put = |bytes: &[u8]| {
            all.extend(bytes);
            Ok(())
        };
        Weights::new(5).write(&tensor, tensor.bytes().unwrap(), &mut put).unwrap();
        assert_eq!(all.len() as u64, tensor.bytes().unwrap());
        assert_eq!(tensor.dtype.first_not_finite(&all), None);
        tensor.dtype.to_f32(&all)
    }

    #[test]
    fn a_matrix_has_the_variance_of_its_inputs_in_every_format() {
        for dtype in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"] {
            for inputs in [512, 8192] {
                let found = values(dtype, "blocks.0.ffn.weight", &[256, inputs]);
                let mean = found.iter().map(|v| f64::from(*v)).sum::<f64>() / found.len() as f64;
                let square = found.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / found.len() as f64;
                let relative = square.sqrt() * (inputs as f64).sqrt();
                assert!((0.85..1.15).contains(&relative), "{dtype} {inputs}: {relative}");
                // Of 64 scales of random signs some more have one of them.
                assert!(mean.abs() < 0.05 / (inputs as f64).sqrt(), "{dtype} {inputs}: {mean}");
            }
        }
    }

    #[test]
    fn norms_are_near_one_and_biases_near_zero() {
        assert!(values("F32", "norm_q.weight", &[999]).iter().all(|v| (0.8..1.2).contains(v)));
        assert!(values("F16", "norm2.bias", &[999]).iter().all(|v| v.abs() < 0.04));
        assert!(values("BF16", "a.bias", &[7]).iter().all(|v| v.abs() < 0.04));
    }
}
