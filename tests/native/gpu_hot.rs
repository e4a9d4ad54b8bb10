//! The hot kernels (linear, attention, convolution) against their plain-Rust twins: random odd shapes, every option, every
//! weight format, both families of kernels, and limits that force every split.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

mod harness;

use harness::{Case, agree, agree_within};
use kinetoscope::ops::{Activation, Combine, ConvOptions, ConvWeight, LinearWeight, Modulation};
use kinetoscope::tensor::{DType, Tensor};
use kinetoscope::weights::blocks::Block;

/// Both sides add up to 2,500 products in f32, in different orders: each sum is off by about sqrt(2,500) roundings of 6e-8 of
/// its size, 3e-6, and the difference by twice that at worst; GELU, SiLU and softmax add a few roundings of exp.
const TOLERANCE: f32 = 1e-5;

/// Limits under which middling matrices still fit as weights, and everything else is split.
const SMALL: (u64, u64) = (128 << 10, 2_000_000);

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
                let k = block.elements() * case.size(1..=if block.elements() > 32 { 1 } else { 5 });
                let x = activations(case, &[m, k]);
                let matrix = case.random_quants(block.on_device(), &[n, k]);
                linear_with(case, m, &x, LinearWeight { matrix, columns: n }, [0, n])
            });
        }
    }
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
        let (h, w) = (case.size(33..=40), case.size(33..=40));
        let (c, n) = (4 * case.size(1..=8), 64 * case.size(1..=2));
        conv_with(case, [h, w], [c, n], [3, 3], ConvOptions::same(3))
    });
}
