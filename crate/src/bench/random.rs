//! Random values that are known by their index: any of them can be had again without keeping a copy.

use half::f16;

use crate::executor::Executor;
use crate::ops::LinearWeight;
use crate::quants::{Bits, Quants};
use crate::tensor::{DType, Tensor};
use crate::weights::blocks::Block;
use crate::{Error, Result};

/// Elements that are made and uploaded at a time.
const PIECE: usize = 1 << 20;

/// How a weight is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// ggml's 8-bit blocks.
    Q8_0,
    /// ggml's 4-bit blocks with scales of their own.
    Q4K,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8_0, Self::Q4K];

    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
        }
    }

    /// On the device.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Q8_0 => DType::Quants(Block::Q8_0.on_device()),
            Self::Q4K => DType::Quants(Block::Q4K.on_device()),
        }
    }
}

/// A stream of random numbers, addressed by index: the finaliser of SplitMix64 on a counter.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// Another stream for every seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6b69_6e65_746f))
    }

    /// 64 random bits.
    pub fn bits(self, index: usize) -> u64 {
        mix(self.0.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Evenly between -1 and 1, in steps of 2^-23.
    pub fn uniform(self, index: usize) -> f32 {
        ((self.bits(index) >> 40) as f32 - 8_388_608.0) / 8_388_608.0
    }

    /// A number below `bound`.
    pub fn below(self, index: usize, bound: usize) -> usize {
        (self.bits(index) % bound.max(1) as u64) as usize
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A resident tensor of random values.
#[derive(Debug)]
pub struct Input {
    /// Where they go.
    pub tensor: Tensor,
    random: Random,
    mean: f32,
    amplitude: f32,
    /// The bytes of a quantised matrix; nothing for floats.
    quants: Vec<u8>,
}

impl Input {
    /// Floats of standard deviation 1 about 0.
    pub fn activations(shape: &[usize], seed: u64) -> Self {
        Self::around(Tensor::resident(DType::F32, shape), seed, 0.0, 1.0)
    }

    /// Floats of this mean and deviation in a tensor of 32 or 16 bits.
    pub fn around(tensor: Tensor, seed: u64, mean: f32, deviation: f32) -> Self {
        // Of even distribution.
        let amplitude = deviation * 3f32.sqrt();
        Self { tensor, random: Random::new(seed), mean, amplitude, quants: Vec::new() }
    }

    /// The matrix of a `[K, N]` product that keeps the deviation of its inputs.
    pub fn weight(format: Format, inputs: usize, columns: usize, seed: u64) -> Self {
        let dtype = format.dtype();
        let tensor = Tensor::resident(dtype, &LinearWeight::shape(dtype, inputs, columns));
        let deviation = 1.0 / (inputs.max(1) as f32).sqrt();
        let mut input = Self::around(tensor, seed, 0.0, deviation);
        if let DType::Quants(format) = dtype {
            input.quants = quants(format, input.tensor.len(), input.random, deviation);
        }
        input
    }

    /// Puts the values on a device.
    ///
    /// # Errors
    /// As [`Executor::upload`].
    pub fn upload(&self, executor: &Executor) -> Result<()> {
        let dtype = self.tensor.dtype();
        if let DType::Quants(_) = dtype {
            return executor.upload(&self.tensor, &self.quants);
        }
        let count = self.tensor.len();
        let flat = self.tensor.reshape(&[count])?;
        let mut bytes = Vec::new();
        for start in (0..count).step_by(PIECE) {
            let piece = start..count.min(start + PIECE);
            bytes.clear();
            match dtype {
                DType::F32 => bytes.extend(piece.clone().flat_map(|i| self.float(i).to_le_bytes())),
                DType::F16 => {
                    bytes.extend(piece.clone().flat_map(|i| f16::from_f32(self.float(i)).to_le_bytes()));
                }
                DType::Bf16 | DType::U32 | DType::Quants(_) => {
                    let reason = "random values are made in f32, f16 and quants alone".into();
                    return Err(Error::WrongState { call: "upload", reason });
                }
            }
            executor.upload(&flat.rows(start, piece.len())?, &bytes)?;
        }
        Ok(())
    }

    fn float(&self, index: usize) -> f32 {
        self.mean + self.amplitude * self.random.uniform(index)
    }

    /// An element of a tensor of floats as the device has it.
    pub fn value(&self, index: usize) -> f64 {
        match self.tensor.dtype() {
            DType::F16 => f16::from_f32(self.float(index)).to_f64(),
            _ => f64::from(self.float(index)),
        }
    }

    /// Column `column` of a matrix of `inputs` rows, as [`LinearWeight`] has it.
    pub fn column(&self, column: usize, inputs: usize) -> Vec<f64> {
        if let DType::Quants(format) = self.tensor.dtype() {
            let mut widened = vec![0.0; inputs];
            format.widen(&self.quants, self.tensor.len(), column * inputs, &mut widened);
            return widened.into_iter().map(f64::from).collect();
        }
        let stride = self.tensor.shape().last().copied().unwrap_or(0);
        (0..inputs).map(|k| self.value(k * stride + column)).collect()
    }
}

/// Random quants, with scales and offsets that make them deviate by `deviation` about 0.
fn quants(format: Quants, elements: usize, random: Random, deviation: f32) -> Vec<u8> {
    let [_, scales, nests, end] = format.sections(elements);
    let words = scales.div_ceil(8);
    let mut bytes: Vec<u8> = (0..words).flat_map(|i| random.bits(i).to_le_bytes()).collect();
    bytes.truncate(scales);
    // Of whole numbers that are equally likely: their deviation, and what takes their mean to 0.
    let levels: f32 = match format.bits {
        Bits::Four => 16.0,
        Bits::Eight => 256.0,
    };
    let step = deviation / ((levels * levels - 1.0) / 12.0).sqrt();
    let middle = (levels - 1.0) / 2.0 - levels / 2.0 + f32::from(format.zero);
    let pair = |scale: f32, offset: f32| {
        let [a, b] = f16::from_f32(scale).to_le_bytes();
        let [c, d] = f16::from_f32(offset).to_le_bytes();
        [a, b, c, d]
    };
    for index in 0..(nests - scales) / 4 {
        // Within a fifth of the middle.
        let factor = 1.0 + 0.2 * random.uniform(words + index);
        bytes.extend(match format.nested {
            true => pair((factor * 48.0).round(), (factor * 48.0).round()),
            false => pair(step * factor, -middle * step * factor),
        });
    }
    for _ in 0..(end - nests) / 4 {
        bytes.extend(pair(step / 48.0, -middle * step / 48.0));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_the_deviation_it_was_asked_for() {
        for format in Format::ALL {
            let input = Input::weight(format, 512, 64, 3);
            let all: Vec<f64> = (0..64).flat_map(|column| input.column(column, 512)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let square = all.iter().map(|v| v * v).sum::<f64>() / all.len() as f64;
            // Of 32,768 values the mean errs by 1 / 181 of the deviation; scales vary by a fifth.
            assert!((square.sqrt() * 512f64.sqrt() - 1.0).abs() < 0.05, "{format:?}: {square}");
            assert!(mean.abs() * 512f64.sqrt() < 0.03, "{format:?}: {mean}");
        }
    }

    #[test]
    fn values_are_those_of_their_seed_and_index() {
        let (one, other) = (Random::new(1), Random::new(2));
        assert_eq!(one.uniform(5), Random::new(1).uniform(5));
        assert_ne!(one.uniform(5), other.uniform(5));
        assert!((0..1000).all(|i| (-1.0..1.0).contains(&one.uniform(i)) && one.below(i, 7) < 7));
    }
}
