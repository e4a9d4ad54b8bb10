//! Numbers as ggml's blocks: the way back from [`super::blocks`].
//!
//! Blocks with one scale have it from their largest value, as ggml's reference has it, to the bit. Blocks of parts (the "K" ones) leave the
//! choice of scales open: here each part tries a few, and takes the one whose least-squares fit errs least. All of it is plain f32 and f64
//! arithmetic in a fixed order: the same bytes on every machine.

use half::{bf16, f16};

use super::blocks::Block;
use super::stored::FileDtype;

/// The bytes of `values` in a number format; whole blocks, finite. `None` for a format that is only read.
///
/// What a 16-bit format cannot hold becomes infinite, which [`FileDtype::first_not_finite`] finds.
pub fn quantise(values: &[f32], dtype: &FileDtype) -> Option<Vec<u8>> {
    Some(match dtype {
        FileDtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        FileDtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        FileDtype::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        FileDtype::Block(block) => {
            let write = match block {
                Block::Q8_0 => q8_0,
                Block::Q4_0 => q4_0,
                Block::Q4_1 => q4_1,
                Block::Q4K => q4_k,
                Block::Q5K => q5_k,
                Block::Q6K => q6_k,
                Block::Q5_0 | Block::Q5_1 => return None,
            };
            let mut out = Vec::with_capacity(values.len() / block.elements() * block.bytes());
            for values in values.chunks_exact(block.elements()) {
                write(values, &mut out);
            }
            out
        }
        FileDtype::F8E4M3 | FileDtype::F8E5M2 | FileDtype::Other(_) => return None,
    })
}

/// 1 / d; 0 where there is nothing to divide, or so little that the quotient is infinite.
fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

fn push_half(out: &mut Vec<u8>, value: f32) -> f32 {
    let value = f16::from_f32(value);
    out.extend(value.to_le_bytes());
    value.to_f32()
}

/// 32 numbers of 4 bits: the first half in the low nibbles, the second one in the high ones.
fn push_nibbles(out: &mut Vec<u8>, quants: &[u8]) {
    let (low, high) = quants.split_at(quants.len() / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
}

fn q8_0(values: &[f32], out: &mut Vec<u8>) {
    let d = values.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0;
    let id = inverse(d);
    push_half(out, d);
    out.extend(values.iter().map(|v| ((v * id).round() as i8).cast_unsigned()));
}

/// The first of the values that are furthest from zero.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |most, v| if v.abs() > most.abs() { *v } else { most })
}

fn q4_0(values: &[f32], out: &mut Vec<u8>) {
    let d = extreme(values) / -8.0;
    let id = inverse(d);
    push_half(out, d);
    let quants: Vec<u8> = values.iter().map(|v| ((v * id + 8.5) as u8).min(15)).collect();
    push_nibbles(out, &quants);
}

fn q4_1(values: &[f32], out: &mut Vec<u8>) {
    let (min, max) = range(values);
    let d = (max - min) / 15.0;
    let id = inverse(d);
    push_half(out, d);
    push_half(out, min);
    let quants: Vec<u8> = values.iter().map(|v| (((v - min) * id + 0.5) as u8).min(15)).collect();
    push_nibbles(out, &quants);
}

fn range(values: &[f32]) -> (f32, f32) {
    let bounds = (f32::INFINITY, f32::NEG_INFINITY);
    values.iter().fold(bounds, |(min, max), v| (min.min(*v), max.max(*v)))
}

fn q4_k(values: &[f32], out: &mut Vec<u8>) {
    let quants = parts_with_offsets(values, 15, out);
    for two in quants.chunks_exact(64) {
        push_nibbles(out, two);
    }
}

fn q5_k(values: &[f32], out: &mut Vec<u8>) {
    let quants = parts_with_offsets(values, 31, out);
    // Bit k of byte i: the fifth bit of element i of part k.
    let fifth = |i: usize| {
        quants.iter().skip(i).step_by(32).enumerate().fold(0, |bits, (part, q)| bits | (q >> 4) << part)
    };
    out.extend((0..32).map(fifth));
    for two in quants.chunks_exact(64) {
        push_nibbles(out, two);
    }
}

/// Elements of a part that has a scale and an offset.
const PART: usize = 32;

/// Scales of eight parts, as [`part_scales`] packs them, and the quants 0 to `levels` of all elements.
fn parts_with_offsets(values: &[f32], levels: u8, out: &mut Vec<u8>) -> Vec<u8> {
    let fits: Vec<Fit> = values.chunks_exact(PART).map(|part| fit_with_offset(part, levels)).collect();
    let largest = |of: fn(&Fit) -> f32| fits.iter().map(of).fold(0f32, f32::max);
    let d = push_half(out, largest(|fit| fit.scale) / 63.0);
    let dmin = push_half(out, largest(|fit| fit.offset) / 63.0);
    let (id, idmin) = (inverse(d), inverse(dmin));
    let six_bits = |value: f32| value.round().min(63.0) as u8;
    let scales: Vec<[u8; 2]> =
        fits.iter().map(|fit| [six_bits(fit.scale * id), six_bits(fit.offset * idmin)]).collect();
    out.extend(pack_scales(std::array::from_fn(|part| scales.get(part).copied().unwrap_or_default())));
    let mut quants = Vec::with_capacity(values.len());
    for (part, [scale, offset]) in values.chunks_exact(PART).zip(scales) {
        let (is, offset) = (inverse(d * f32::from(scale)), dmin * f32::from(offset));
        quants.extend(part.iter().map(|v| nearest((v + offset) * is, 0.0, f32::from(levels)) as u8));
    }
    quants
}

/// Scale and offset of eight parts, 6 bits each, in twelve bytes: the first four parts' in the low bits of eight, the others' in halves over
/// what remains.
pub fn pack_scales(scales: [[u8; 2]; 8]) -> [u8; 12] {
    let [first @ .., _, _, _, _] = &scales;
    let [_, _, _, _, last @ ..] = &scales;
    let mut packed = [0; 12];
    let (low, rest) = packed.split_at_mut(8);
    for (part, ((f, l), both)) in first.iter().zip(last).zip(rest).enumerate() {
        let ([scale, offset], [scale_of_last, offset_of_last]) = (f, l);
        if let [s, _, _, _, o] = low.get_mut(part..part + 5).unwrap_or_default() {
            *s = scale & 63 | scale_of_last >> 4 << 6;
            *o = offset & 63 | offset_of_last >> 4 << 6;
        }
        *both = scale_of_last & 15 | offset_of_last << 4;
    }
    packed
}

/// How far beyond and below the full range the trials go, in quants.
const TRIALS: [f32; 9] = [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0];

/// `scale * quant - offset`, neither below zero.
struct Fit {
    scale: f32,
    offset: f32,
}

/// Sums in [`LANES`] lanes, which compilers make vectors of without changing the order.
const LANES: usize = 8;

fn total(lanes: [f32; LANES]) -> f64 {
    lanes.iter().map(|lane| f64::from(*lane)).sum()
}

/// The nearest whole number, even ones first, within bounds. Adding 1.5 * 2^23 leaves no bits for a fraction.
fn nearest(value: f32, low: f32, high: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0;
    (value.clamp(low, high) + WHOLE) - WHOLE
}

/// The scale and offset whose quants 0 to `levels` err least in the square, of those tried.
fn fit_with_offset(values: &[f32], levels: u8) -> Fit {
    let levels = f32::from(levels);
    let (min, max) = range(values);
    let low = min.min(0.0);
    let mut best = Fit { scale: 0.0, offset: -low };
    if max - low <= 0.0 || !(max - low).is_finite() {
        return best;
    }
    let count = values.len() as f64;
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    let mut least = f64::INFINITY;
    for trial in TRIALS {
        let is = (levels + trial) / (max - low);
        let (mut q, mut qq, mut qx) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        for lanes in values.as_chunks::<LANES>().0 {
            for (lane, v) in lanes.iter().enumerate() {
                let quant = nearest((v - low) * is, 0.0, levels);
                q[lane] += quant;
                qq[lane] += quant * quant;
                qx[lane] += quant * v;
            }
        }
        let (q, qq, qx) = (total(q), total(qq), total(qx));
        let spread = count * qq - q * q;
        let (mut scale, mut add) = (qx / qq, 0.0);
        // One value alone says nothing of an offset.
        if spread > 0.0 {
            let fitted = (count * qx - q * sum) / spread;
            let at_zero = (sum - fitted * q) / count;
            if at_zero <= 0.0 {
                (scale, add) = (fitted, at_zero);
            }
        }
        // The sum of squares of the values themselves is the same for all.
        let error = scale * scale * qq + count * add * add + 2.0 * (scale * add * q - scale * qx - add * sum);
        if scale > 0.0 && error < least {
            least = error;
            best = Fit { scale: scale as f32, offset: -add as f32 };
        }
    }
    best
}

/// Elements of a part that has a scale alone.
const SMALL_PART: usize = 16;

fn q6_k(values: &[f32], out: &mut Vec<u8>) {
    let fits: Vec<f32> = values.chunks_exact(SMALL_PART).map(fit_scale).collect();
    let d = f16::from_f32(extreme(&fits) / -128.0);
    let id = inverse(d.to_f32());
    let scales: Vec<i8> = fits.iter().map(|scale| (scale * id).round() as i8).collect();
    let mut quants = Vec::with_capacity(values.len());
    for (part, scale) in values.chunks_exact(SMALL_PART).zip(&scales) {
        let is = inverse(d.to_f32() * f32::from(*scale));
        quants.extend(part.iter().map(|v| (nearest(v * is, -32.0, 31.0) + 32.0) as u8));
    }
    // Halves of 128 with four runs of 32 each: two runs share the bytes of their lower bits, all four those of their upper ones.
    let halves: Vec<Vec<&[u8]>> =
        quants.chunks_exact(128).map(|half| half.chunks_exact(32).collect()).collect();
    for half in &halves {
        if let [a, b, c, d] = half.as_slice() {
            out.extend(a.iter().zip(*c).map(|(low, high)| low & 15 | high << 4));
            out.extend(b.iter().zip(*d).map(|(low, high)| low & 15 | high << 4));
        }
    }
    for half in &halves {
        let upper = |k: usize| {
            half.iter()
                .enumerate()
                .fold(0, |bits, (run, quants)| bits | (quants.get(k).copied().unwrap_or(0) >> 4) << (2 * run))
        };
        out.extend((0..32).map(upper));
    }
    out.extend(scales.iter().map(|scale| scale.cast_unsigned()));
    out.extend(d.to_le_bytes());
}

/// The scale whose quants -32 to 31 err least in the square, of those tried.
fn fit_scale(values: &[f32]) -> f32 {
    let extreme = extreme(values);
    if extreme == 0.0 {
        return 0.0;
    }
    let (mut best, mut most) = (extreme / -32.0, 0.0);
    for trial in TRIALS {
        let is = -(32.0 + trial) / extreme;
        let (mut qq, mut qx) = ([0f32; LANES], [0f32; LANES]);
        for lanes in values.as_chunks::<LANES>().0 {
            for (lane, v) in lanes.iter().enumerate() {
                let quant = nearest(v * is, -32.0, 31.0);
                qq[lane] += quant * quant;
                qx[lane] += quant * v;
            }
        }
        let (qq, qx) = (total(qq), total(qx));
        // What the error is less than the values' own squares.
        if qq > 0.0 && qx * qx / qq > most {
            (best, most) = ((qx / qq) as f32, qx * qx / qq);
        }
    }
    best
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    fn block(block: Block) -> FileDtype {
        FileDtype::Block(block)
    }

    /// Normal values, as `sampling::noise` draws them.
    fn normal(count: usize) -> Vec<f32> {
        crate::sampling::noise::randn(7, count)
    }

    fn rmse(values: &[f32], format: Block) -> f64 {
        let back = format.to_f32(&quantise(values, &block(format)).unwrap());
        assert_eq!(back.len(), values.len());
        let square = |(a, b): (&f32, &f32)| f64::from(a - b) * f64::from(a - b);
        (values.iter().zip(&back).map(square).sum::<f64>() / values.len() as f64).sqrt()
    }

    /// gguf-py's own quantisation of the same values, to the bit.
    #[test]
    fn blocks_with_one_scale_are_ggmls() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/quantised.safetensors");
        let file = std::fs::read(path).unwrap();
        let golden = safetensors::SafeTensors::deserialize(&file).unwrap();
        let values = FileDtype::F32.to_f32(golden.tensor("values").unwrap().data());
        for name in ["Q8_0", "Q4_0", "Q4_1", "F16", "BF16"] {
            let found = quantise(&values, &FileDtype::from_name(name.into())).unwrap();
            let expected = golden.tensor(name).unwrap().data();
            let differs = found.iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!((found.len(), differs), (expected.len(), None), "{name}");
        }
    }

    /// The optimal quantiser of 16 levels for normal values errs by 0.0975 (Max, "Quantizing for minimum distortion", 1960: 0.009497); it has
    /// the whole distribution's levels, where a part has those of its 32 values, and scales of 6 bits.
    #[test]
    fn parts_fit_better_than_single_scales() {
        let values = normal(64 * 256);
        let [q4_0, q4_1, q4_k] = [Block::Q4_0, Block::Q4_1, Block::Q4K].map(|format| rmse(&values, format));
        assert!(q4_k < 0.85 * q4_0 && q4_k < q4_1, "{q4_k} {q4_1} {q4_0}");
        assert!(q4_k < 0.0975, "{q4_k}");
        let [q5_k, q6_k, q8_0] = [Block::Q5K, Block::Q6K, Block::Q8_0].map(|format| rmse(&values, format));
        // A bit more halves the step.
        assert!(q5_k < 0.53 * q4_k, "{q5_k} {q4_k}");
        assert!(q6_k < 0.53 * q5_k && q6_k > q8_0, "{q6_k} {q5_k} {q8_0}");
    }

    #[test]
    fn a_quantised_block_stays_as_it_is() {
        for format in [Block::Q8_0, Block::Q4_0, Block::Q4_1] {
            // Every level is used, so that the scale is found again.
            let values: Vec<f32> = (0..256).map(|i| ((i * 37) % 16) as f32 * 0.5 - 4.0).collect();
            let once = format.to_f32(&quantise(&values, &block(format)).unwrap());
            assert_eq!(format.to_f32(&quantise(&once, &block(format)).unwrap()), once, "{format:?}");
        }
    }

    #[test]
    fn extremes() {
        let constant = |value: f32| vec![value; 256];
        let mut one = vec![0f32; 256];
        one[100] = -3.0;
        let tiny: Vec<f32> = normal(256).into_iter().map(|v| v * 1e-40).collect();
        for format in [Block::Q8_0, Block::Q4_0, Block::Q4_1, Block::Q4K, Block::Q5K, Block::Q6K] {
            for values in [constant(0.0), constant(2.0), constant(-2.0), one.clone(), tiny.clone()] {
                let bytes = quantise(&values, &block(format)).unwrap();
                assert_eq!(format.first_not_finite(&bytes), None);
                let back = format.to_f32(&bytes);
                let worst = values.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                // The scale's own 11 bits.
                let most = values.iter().fold(0f32, |most, v| most.max(v.abs())) / 1000.0;
                assert!(worst <= most.max(1e-6), "{format:?}: {worst}, {:?}", &back[..3]);
            }
        }
        assert_eq!(quantise(&[1.0; 32], &block(Block::Q5_0)), None);
        let too_large = quantise(&[1e6], &FileDtype::F16).unwrap();
        assert_eq!(FileDtype::F16.first_not_finite(&too_large), Some(0));
    }

    #[test]
    fn scales_are_packed_as_they_are_read() {
        let scales: [[u8; 2]; 8] = std::array::from_fn(|i| [(i * 9) as u8 & 63, (63 - i * 7) as u8 & 63]);
        let mut bytes = f16::ONE.to_le_bytes().to_vec();
        bytes.extend(f16::ONE.to_le_bytes());
        bytes.extend(pack_scales(scales));
        bytes.extend([0x11; 128]);
        for (part, values) in Block::Q4K.to_f32(&bytes).chunks(32).enumerate() {
            assert_eq!(values[0], f32::from(scales[part][0]) - f32::from(scales[part][1]), "{part}");
        }
    }
}
