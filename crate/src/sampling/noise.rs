//! Normal noise equal to PyTorch's CPU generator, so that a seed gives the clip that diffusers gives for it.
//!
//! Source: ATen `core/MT19937RNGEngine.h` (the engine), `native/cpu/DistributionTemplates.h` (`normal_fill`, sixteen
//! values at a time, for tensors of at least sixteen) and `core/DistributionsHelper.h` (`normal_distribution<double>`,
//! one value at a time, for smaller ones).

use std::f32::consts::PI as PI_F32;
use std::f64::consts::PI;

const STATE_LEN: usize = 624;
const STATE_SHIFT: usize = 397;

/// The Mersenne Twister behind `torch.Generator("cpu")`, from its seed.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; STATE_LEN],
    next: usize,
}

impl Mt19937 {
    /// The engine after `manual_seed(seed)`. As in torch, only the low 32 bits of the seed count.
    pub fn new(seed: u64) -> Self {
        let mut state = [0u32; STATE_LEN];
        let mut previous = (seed & 0xffff_ffff) as u32;
        for (i, word) in (0u32..).zip(state.iter_mut()) {
            if i > 0 {
                previous = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i);
            }
            *word = previous;
        }
        Self { state, next: STATE_LEN }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next >= STATE_LEN {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// The next 64 random bits: torch takes the high word first.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        (high << 32) | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1) with the 24 bits that torch gives an f32.
    pub fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [0, 1) with the 53 bits that torch gives an f64.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    fn twist(&mut self) {
        for i in 0..STATE_LEN {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE_LEN] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + STATE_SHIFT) % STATE_LEN] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

/// Values that `normal_fill` transforms together: eight radii and eight angles.
const BLOCK: usize = 16;

/// `torch.randn(n, generator=torch.Generator("cpu").manual_seed(seed))`, to 1e-6.
///
/// Returns `n` values of mean 0 and variance 1, in the tensor's memory order. The last digits differ from torch's, whose
/// vectorised sine, cosine and logarithm are approximations of their own.
pub fn randn(seed: u64, n: usize) -> Vec<f32> {
    randn_next(&mut Mt19937::new(seed), n)
}

/// The next `torch.randn(n, generator=generator)`, as [`randn`]. Of fewer than sixteen values torch may keep one for the next call; here
/// none is kept.
pub fn randn_next(generator: &mut Mt19937, n: usize) -> Vec<f32> {
    if n < BLOCK {
        return randn_scalar(generator, n);
    }
    let mut values: Vec<f32> = (0..n).map(|_| generator.uniform_f32()).collect();
    let mut blocks = values.chunks_exact_mut(BLOCK);
    blocks.by_ref().for_each(box_muller);
    if !blocks.into_remainder().is_empty() {
        // torch draws the last sixteen again, over values that are already normal.
        let tail = &mut values[n - BLOCK..];
        tail.fill_with(|| generator.uniform_f32());
        box_muller(tail);
    }
    values
}

/// Box-Muller over a block of uniforms: the first half gives the radii, the second the angles.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (a, b) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * (1.0 - *a).ln()).sqrt();
        let (sin, cos) = (2.0 * PI_F32 * *b).sin_cos();
        *a = radius * cos;
        *b = radius * sin;
    }
}

/// Torch's way for fewer than sixteen values: pairs in double precision, the second kept for the next value.
fn randn_scalar(generator: &mut Mt19937, n: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let angle = 2.0 * PI * generator.uniform_f64();
        let radius = (-2.0 * (-generator.uniform_f64()).ln_1p()).sqrt();
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(n);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tests/golden/noise.safetensors holds `torch.randn(n)` by seed and count as `seed{seed}_n{n}`.
    #[test]
    fn equals_torch() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/noise.safetensors");
        let file = std::fs::read(path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let mut compared = 0;
        for (name, tensor) in tensors.iter() {
            let (seed, count) = name.strip_prefix("seed").and_then(|rest| rest.split_once("_n")).unwrap();
            let values = randn(seed.parse().unwrap(), count.parse().unwrap());
            let expected = tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            assert_eq!(values.len(), expected.len());
            for (i, (found, expected)) in values.iter().zip(expected).enumerate() {
                assert!((found - expected).abs() < 1e-6, "{name}[{i}]: {found} {expected}");
                compared += 1;
            }
        }
        assert!(compared > 6000, "only {compared} values in the golden file");
    }

    #[test]
    fn low_32_bits_of_the_seed_count() {
        assert_eq!(randn(7, 40), randn((1 << 63) + (1 << 32) + 7, 40));
        assert_ne!(randn(7, 40), randn(8, 40));
    }

    #[test]
    fn large_draw_is_normal() {
        let n = 100_003;
        let values = randn(3, n);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let variance = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn reference_engine() {
        // The 10,000th output of MT19937 for seed 5489 is fixed by the C++ standard.
        let mut generator = Mt19937::new(5489);
        let last = (0..10_000).map(|_| generator.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn no_values() {
        assert!(randn(1, 0).is_empty());
    }
}
