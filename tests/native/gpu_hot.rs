//! The hot kernels (linear, attention, convolution) against their plain-Rust twins: random odd shapes, every option, every
//! weight format, both families of kernels, and limits that force every split.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

mod harness;

use harness::{
    Case, Named, agree, agree_on, agree_within, by_matrix_units, in_bytes, in_halves, outcomes_on,
};
use kinetoscope::ops::{Activation, Combine, ConvOptions, ConvWeight, LinearWeight, Modulation};
use kinetoscope::tensor::{DType, Tensor};
use kinetoscope::weights::blocks::Block;

/// Both sides add up to 2,500 products in f32, in different orders: each sum is off by about sqrt(2,500) roundings of 6e-8 of
/// its size, 3e-6, and the difference by twice that at worst; GELU, SiLU and softmax add a few roundings of exp.
const TOLERANCE: f32 = 1e-5;

/// Inputs, products and each sum of up to 16 of them are rounded to 11 bits, which is 2^-11 of them at worst. Of random values of either sign
/// the sums are sqrt(8) products on average, so that the errors come to 1.6 of that for what the results are on average; the worst of some
/// 10,000 is four times as far off. Combined with a factor it is that of the largest product.
const HALVES_TOLERANCE: f32 = 8.0 / 2048.0;

/// An element is off by up to half of a 127th of the largest of its group, by 0.4% on average of random values' average, and so are sums of their
/// products; the worst of some 10,000 is four times as far off, which is about as much less than the largest result. Combined with a factor it is that of
/// the largest product.
const BYTES_TOLERANCE: f32 = 0.02;

/// Limits under which middling matrices still fit as weights, and everything else is split.
const SMALL: (u64, u64) = (128 << 10, 2_000_000);

/// The same of some hundred rows.
const PANELS: (u64, u64) = (1 << 20, 8_000_000);

/// Now and then a multiple of four, which is the fast path.
fn even(case: &mut Case<'_>, size: usize) -> usize {
    if case.size(0..=1) == 0 { size.next_multiple_of(4) } else { size }
}

/// A weight in any of the three formats. Its padding is random: nothing may depend on it.
fn matrix(case: &mut Case<'_>, rows: usize, columns: usize) -> Tensor {
    let shape = [rows, LinearWeight::stride(columns)];
    match case.size(0..=2) {
        0 => case.random(&shape),
        1 => case.random_half(DType::F16, &shape),
        _ => case.random_half(DType::Bf16, &shape),
    }
}

/// A tensor, or a view of rows of a larger one.
fn activations(case: &mut Case<'_>, shape: &[usize]) -> Tensor {
    if case.size(0..=2) == 0 { case.random_view(shape) } else { case.random(shape) }
}

fn modulation(case: &mut Case<'_>, rows: usize, width: usize) -> Modulation {
    let (rows_per_timestep, first_row) = (case.size(1..=9), case.size(0..=5));
    let timesteps = (first_row + rows).div_ceil(rows_per_timestep);
    let stride = if case.size(0..=1) == 0 { 0 } else { width };
    let index = case.size(0..=2);
    Modulation {
        table: case.random(&[3, width]),
        embedding: case.random(&[timesteps, stride * 2 + width]),
        index,
        stride,
        rows_per_timestep,
        first_row,
    }
}

/// A linear layer with random options, into some columns of an output that was there before.
fn linear(case: &mut Case<'_>, [m, k, n]: [usize; 3]) -> Vec<Tensor> {
    let columns = case.size(0..=2);
    let (column, after) = if columns == 0 { (case.size(1..=3) * 4, case.size(0..=1) * 4) } else { (0, 0) };
    let width = column + n + after;
    let x = activations(case, &[m, k]);
    let weight = LinearWeight { matrix: matrix(case, k, n), columns: n };
    linear_with(case, m, &x, weight, [column, width])
}

/// As [`linear`], with this weight.
fn linear_with(
    case: &mut Case<'_>,
    m: usize,
    x: &Tensor,
    weight: LinearWeight,
    [column, width]: [usize; 2],
) -> Vec<Tensor> {
    let n = weight.columns;
    let bias = (case.size(0..=1) == 0).then(|| activations(case, &[n]));
    let activation = [Activation::None, Activation::GeluTanh, Activation::Silu][case.size(0..=2)];
    let combine = match case.size(0..=3) {
        0 => Combine::None,
        1 => Combine::Add(activations(case, &[m, width])),
        2 => Combine::Multiply(activations(case, &[m, width])),
        _ => Combine::GatedAdd { residual: activations(case, &[m, width]), gate: modulation(case, m, width) },
    };
    // A resident, so that columns beside the written ones are seen to be left alone.
    let out = case.random(&[m + 3, width]);
    let part = out.rows(2, m).unwrap();
    case.recorder.linear_into(x, &weight, bias.as_ref(), activation, combine, &part, column).unwrap();
    vec![out]
}

#[test]
fn linear_of_small_matrices() {
    agree(60, TOLERANCE, |case| {
        let (m, k, n) = (case.size(1..=150), case.size(1..=28), case.size(1..=24));
        let (k, n) = (even(case, k), even(case, n));
        linear(case, [m, k, n])
    });
}

#[test]
fn linear_of_middling_matrices() {
    agree_within(SMALL, 24, TOLERANCE, |case| {
        let (m, k, n) = (case.size(1..=300), case.size(1..=200), case.size(1..=120));
        let (k, n) = (even(case, k), even(case, n));
        linear(case, [m, k, n])
    });
}

#[test]
fn linear_of_few_rows() {
    agree_within(SMALL, 24, TOLERANCE, |case| {
        let (m, k, n) = (case.size(1..=4), case.size(1..=250), case.size(1..=110));
        let (k, n) = (even(case, k), even(case, n));
        linear(case, [m, k, n])
    });
}

/// Enough tiles for the large ones.
#[test]
fn linear_of_large_matrices() {
    agree_within((4 << 20, 50_000_000), 6, TOLERANCE, |case| {
        let (m, k, n) = (case.size(1290..=1400), case.size(1..=70), case.size(620..=700));
        let (k, n) = (even(case, k), even(case, n));
        linear(case, [m, k, n])
    });
}

/// Every format of blocks, in every family of kernels.
#[test]
fn linear_of_quantised_matrices() {
    for block in Block::ALL {
        for rows in [1..=4, 5..=150, 1290..=1400] {
            // Enough tiles for the large ones take columns.
            let columns = if *rows.start() > 1000 { 300..=340 } else { 1..=70 };
            agree_within((1 << 20, 20_000_000), 2, TOLERANCE, |case| {
                let (m, n) = (case.size(rows.clone()), case.size(columns.clone()));
                let n = even(case, n);
                quantised(case, block, [m, n])
            });
        }
    }
}

/// Sizes that fill the tiles of octets.
#[test]
fn linear_of_full_tiles() {
    agree_within(SMALL, 3, TOLERANCE, |case| {
        let (m, k, n) = (case.size(25..=48), 4 * case.size(1..=20), 64 * case.size(1..=2));
        linear(case, [m, k, n])
    });
    for block in [Block::Q8_0, Block::Q4K] {
        agree_within(SMALL, 1, TOLERANCE, |case| {
            let (m, n) = (case.size(40..=64), 64 * case.size(1..=2));
            quantised(case, block, [m, n])
        });
    }
}

/// Rows enough for weights in panels, which the last columns fill or not.
#[test]
fn linear_in_panels() {
    agree_within(PANELS, 4, TOLERANCE, |case| {
        let (m, k, n) = (case.size(256..=300), 16 * case.size(1..=3), 16 * case.size(5..=12));
        linear(case, [m, k, n])
    });
    for block in [Block::Q8_0, Block::Q4K] {
        agree_within(PANELS, 2, TOLERANCE, |case| {
            let (m, n) = (case.size(256..=300), 4 * case.size(17..=50));
            quantised(case, block, [m, n])
        });
    }
}

/// A linear layer with a quantised weight.
fn quantised(case: &mut Case<'_>, block: Block, [m, n]: [usize; 2]) -> Vec<Tensor> {
    let k = block.elements() * case.size(1..=if block.elements() > 32 { 1 } else { 5 });
    let x = activations(case, &[m, k]);
    let matrix = case.random_quants(block.on_device(), &[n, k]);
    linear_with(case, m, &x, LinearWeight { matrix, columns: n }, [0, n])
}

/// The same of several tiles, of whole vectors.
fn quantised_tiles(case: &mut Case<'_>, block: Block) -> Vec<Tensor> {
    let (m, n) = (case.size(5..=300), 4 * case.size(17..=50));
    quantised(case, block, [m, n])
}

/// Every format of weights. Several tiles of each kind.
fn linear_of_16_bits(devices: &[Named]) {
    agree_on(devices, 12, HALVES_TOLERANCE, |case| {
        let (m, k, n) = (case.size(5..=300), 4 * case.size(1..=60), 4 * case.size(17..=50));
        linear(case, [m, k, n])
    });
    for block in [Block::Q8_0, Block::Q4_0, Block::Q4K, Block::Q6K] {
        agree_on(devices, 2, HALVES_TOLERANCE, |case| quantised_tiles(case, block));
    }
}

#[test]
fn linear_in_halves() {
    linear_of_16_bits(&in_halves());
}

#[test]
#[ignore = "needs an adapter with matrix units: ./build.sh matrices"]
fn linear_by_matrix_units() {
    linear_of_16_bits(&by_matrix_units(5_000_000));
}

/// What 11 bits do not hold is lost of an input, and not of the sum: 4,096 times 1 with f16 sums throughout would be 2,048.
fn sums_are_whole(devices: &[Named]) {
    let found = outcomes_on(devices, |case| {
        let x = case.input(&[130, 4096], &[1.0 + 1.0 / 4096.0; 130 * 4096]);
        let weight = LinearWeight { matrix: case.input(&[4096, 68], &[1.0; 4096 * 68]), columns: 68 };
        case.recorder.linear(&x, &weight, None, Activation::None, Combine::None).unwrap()
    });
    for (name, values) in found {
        assert!(values.iter().all(|value| *value == 4096.0), "{name}: {:?}", &values[..4]);
    }
}

#[test]
fn sums_of_halves_are_whole() {
    sums_are_whole(&in_halves());
}

#[test]
#[ignore = "needs an adapter with matrix units: ./build.sh matrices"]
fn sums_of_matrix_units_are_whole() {
    sums_are_whole(&by_matrix_units(u64::MAX));
}

/// Every format of blocks; Q6_K, whose groups have 16 elements, is not multiplied so, and as exact as ever.
#[test]
fn linear_in_bytes() {
    let devices = in_bytes(5_000_000);
    for block in Block::ALL {
        let tolerance = if block == Block::Q6K { TOLERANCE } else { BYTES_TOLERANCE };
        agree_on(&devices, 4, tolerance, |case| quantised_tiles(case, block));
    }
}

/// Whole numbers up to 127, one of which each group has, are rounded to themselves: nothing is lost of what they are multiplied with.
#[test]
fn whole_numbers_are_exact_in_bytes() {
    let devices = in_bytes(5_000_000);
    for block in Block::ALL {
        agree_on(&devices, 3, TOLERANCE, |case| {
            let (m, n) = (case.size(129..=300), 4 * case.size(17..=50));
            let k = block.elements() * case.size(1..=3);
            let values: Vec<f32> = (0..m * k)
                .map(|i| if i % 32 == i / 32 % 32 { 127.0 } else { case.size(0..=254) as f32 - 127.0 })
                .collect();
            let x = case.input(&[m, k], &values);
            let matrix = case.random_quants(block.on_device(), &[n, k]);
            linear_with(case, m, &x, LinearWeight { matrix, columns: n }, [0, n])
        });
    }
}

/// What is less than half of a 127th of the largest of its group is lost: these layers are multiplied in 8 bits, and not as any other.
#[test]
fn small_numbers_are_lost_in_bytes() {
    let devices = in_bytes(u64::MAX);
    let with = |rest: f32| {
        outcomes_on(&devices, |case| {
            let values: Vec<f32> = (0..130 * 64).map(|i| if i % 32 == 5 { 127.0 } else { rest }).collect();
            let x = case.input(&[130, 64], &values);
            let matrix = case.random_quants(Block::Q4_0.on_device(), &[68, 64]);
            let weight = LinearWeight { matrix, columns: 68 };
            case.recorder.linear(&x, &weight, None, Activation::None, Combine::None).unwrap()
        })
    };
    assert_eq!(with(0.25), with(0.0));
    assert_ne!(with(0.75), with(0.0));
}

/// Rounding makes numbers of anything.
#[test]
fn what_is_no_number_stays_none_in_bytes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let found = outcomes_on(&in_bytes(u64::MAX), |case| {
            let mut values = vec![1.0; 130 * 64];
            values[64 * 7 + 40] = bad;
            let x = case.input(&[130, 64], &values);
            let matrix = case.random_quants(Block::Q8_0.on_device(), &[68, 64]);
            let weight = LinearWeight { matrix, columns: 68 };
            case.recorder.linear(&x, &weight, None, Activation::None, Combine::None).unwrap()
        });
        for (name, values) in found {
            for (row, values) in values.chunks_exact(68).enumerate() {
                assert!(
                    values.iter().all(|value| value.is_finite() == (row != 7)),
                    "{name}, {bad}, row {row}"
                );
            }
        }
    }
}

fn conv_of_16_bits(devices: &[Named]) {
    agree_on(devices, 12, HALVES_TOLERANCE, |case| {
        let (h, w) = (case.size(5..=20), case.size(5..=20));
        let (c, n) = (4 * case.size(1..=12), 4 * case.size(17..=30));
        conv(case, [h, w], [c, n])
    });
}

#[test]
fn conv_in_halves() {
    conv_of_16_bits(&in_halves());
}

#[test]
#[ignore = "needs an adapter with matrix units: ./build.sh matrices"]
fn conv_by_matrix_units() {
    conv_of_16_bits(&by_matrix_units(5_000_000));
}

/// exp and tanh overflow in some drivers, where the limits of GELU and SiLU are plain.
#[test]
fn activations_of_large_arguments() {
    for activation in [Activation::GeluTanh, Activation::Silu] {
        agree(1, TOLERANCE, |case| {
            let x = case.input(&[8, 4], &(0..32).map(|i| (i - 16) as f32).collect::<Vec<_>>());
            let scales = [0.01, 1.0, 30.0, 1e4];
            let weight: Vec<f32> =
                (0..16).map(|i| if i / 4 == i % 4 { scales[i / 4] } else { 0.0 }).collect();
            let weight = LinearWeight { matrix: case.input(&[4, 4], &weight), columns: 4 };
            vec![case.recorder.linear(&x, &weight, None, activation, Combine::None).unwrap()]
        });
    }
}

/// Attention with random options; logits of some units, so that the softmax is neither flat nor one-hot.
fn attention(case: &mut Case<'_>, [heads, queries, keys, d]: [usize; 4]) -> Vec<Tensor> {
    let q = activations(case, &[heads, queries, d]);
    let k = activations(case, &[heads, keys, d]);
    let v = activations(case, &[heads, keys, d]);
    let bias = (case.size(0..=1) == 0).then(|| case.random_in(&[heads, queries + keys - 1], -4.0, 4.0));
    let last_key_bias = [0.0, 6.2][case.size(0..=1)];
    let scale = 6.0 / (d as f32).sqrt();
    vec![case.recorder.attention(&q, &k, &v, scale, bias.as_ref(), last_key_bias).unwrap()]
}

#[test]
fn attention_of_small_heads() {
    agree(30, TOLERANCE, |case| {
        let (heads, queries, keys) = (case.size(1..=4), case.size(1..=140), case.size(1..=50));
        let d = case.size(1..=(900 / keys / 4).clamp(1, 32)) * 4;
        attention(case, [heads, queries, keys, d])
    });
}

#[test]
fn attention_of_every_head_size() {
    for d in [4, 24, 32, 44, 48, 64, 88, 128] {
        agree_within(SMALL, 4, TOLERANCE, |case| {
            let (heads, queries, keys) = (case.size(1..=5), case.size(1..=200), case.size(1..=180));
            attention(case, [heads, queries, keys, d])
        });
    }
}

#[test]
fn attention_of_wide_heads() {
    agree_within(SMALL, 6, TOLERANCE, |case| {
        let (t, d) = (case.size(1..=120), case.size(33..=50) * 4);
        let [q, k, v] = [0; 3].map(|_| case.random(&[t, d]));
        vec![case.recorder.wide_attention(&q, &k, &v, 1.0 / (d as f32).sqrt()).unwrap()]
    });
}

/// A convolution with random geometry and options.
fn conv(case: &mut Case<'_>, [h, w]: [usize; 2], [c, n]: [usize; 2]) -> Vec<Tensor> {
    let (kernel, options) = match case.size(0..=5) {
        0 => ([1, 1], ConvOptions::same(1)),
        1 | 2 => ([3, 3], ConvOptions::same(3)),
        3 => ([3, 3], ConvOptions { stride: 2, pad_before: 0, pad_after: 1, upsample: false }),
        4 => ([3, 3], ConvOptions { upsample: true, ..ConvOptions::same(3) }),
        _ => ([2, 3], ConvOptions { stride: case.size(1..=3), pad_before: 2, pad_after: 3, upsample: false }),
    };
    conv_with(case, [h, w], [c, n], kernel, options)
}

fn conv_with(
    case: &mut Case<'_>,
    [h, w]: [usize; 2],
    [c, n]: [usize; 2],
    kernel: [usize; 2],
    options: ConvOptions,
) -> Vec<Tensor> {
    let kt = case.size(1..=3);
    let given = case.size(0..=kt - 1);
    let frames: Vec<Option<Tensor>> = (0..kt)
        .map(|t| (t == given || case.size(0..=2) > 0).then(|| activations(case, &[h, w, c])))
        .collect();
    let [kh, kw] = kernel;
    let weight = ConvWeight {
        matrix: matrix(case, kt * kh * kw * c, n),
        channels_in: c,
        channels_out: n,
        kernel: [kt, kh, kw],
    };
    let bias = (case.size(0..=1) == 0).then(|| activations(case, &[n]));
    let scale = if options.upsample { 2 } else { 1 };
    let pads = options.pad_before + options.pad_after;
    let extent = |size: usize, k: usize| (size * scale + pads - k) / options.stride + 1;
    let residual = (case.size(0..=1) == 0).then(|| activations(case, &[extent(h, kh), extent(w, kw), n]));
    let frames: Vec<Option<&Tensor>> = frames.iter().map(Option::as_ref).collect();
    let out = match case.size(0..=2) {
        0 => case.recorder.conv_relu(&frames, &weight, bias.as_ref(), options, residual.as_ref()),
        _ => case.recorder.conv(&frames, &weight, bias.as_ref(), options, residual.as_ref()),
    };
    vec![out.unwrap()]
}

#[test]
fn conv_of_small_frames() {
    agree(60, TOLERANCE, |case| {
        let (h, w) = (case.size(3..=20), case.size(3..=11));
        let (c, n) = (case.size(1..=9), case.size(1..=8));
        let (c, n) = (even(case, c), even(case, n));
        conv(case, [h, w], [c.min(8), n])
    });
}

#[test]
fn conv_of_middling_frames() {
    agree_within(SMALL, 24, TOLERANCE, |case| {
        let (h, w) = (case.size(3..=40), case.size(3..=30));
        let (c, n) = (case.size(1..=50), case.size(1..=50));
        let (c, n) = (even(case, c), even(case, n));
        conv(case, [h, w], [c, n])
    });
}

/// Fewer pixels than most tiles have rows.
#[test]
fn conv_of_few_pixels() {
    agree_within(SMALL, 8, TOLERANCE, |case| {
        let (h, w) = (case.size(3..=4), case.size(3..=4));
        let (c, n) = (4 * case.size(1..=4), 64 * case.size(1..=2));
        conv(case, [h, w], [c, n])
    });
}

/// Enough tiles for the large ones.
#[test]
fn conv_of_many_channels() {
    agree_within((4 << 20, 50_000_000), 4, TOLERANCE, |case| {
        let (h, w) = (case.size(35..=38), case.size(37..=40));
        let (c, n) = (case.size(3..=8), case.size(620..=660));
        let (c, n) = (even(case, c), even(case, n));
        conv(case, [h, w], [c, n])
    });
}

/// Vectors of channels and enough blocks, of frames that end in the middle of one: what goes by Winograd's transforms.
#[test]
fn conv_by_transforms() {
    agree_within((1 << 20, 5_000_000), 16, TOLERANCE, |case| {
        let (h, w) = (case.size(8..=21), case.size(8..=21));
        let (c, n) = (4 * case.size(1..=12), 4 * case.size(1..=24));
        let options = ConvOptions { upsample: case.size(0..=2) == 0, ..ConvOptions::same(3) };
        conv_with(case, [h, w], [c, n], [3, 3], options)
    });
}

/// Blocks and columns enough for the tall tiles.
#[test]
fn conv_by_transforms_of_large_frames() {
    agree_within((4 << 20, 50_000_000), 3, TOLERANCE, |case| {
        let (h, w) = (case.size(33..=56), case.size(33..=56));
        let (c, n) = (4 * case.size(1..=8), 64 * case.size(1..=2));
        conv_with(case, [h, w], [c, n], [3, 3], ConvOptions::same(3))
    });
}
