//! Every simple kernel against its plain-Rust twin, on random odd shapes, views and splits.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

mod harness;

use harness::{agree, equal};
use kinetoscope::ops::{Affine, HeadNorm, Modulation, NormKind, PixelForm, Rope};
use kinetoscope::tensor::{DType, Tensor};

/// f32 sums of up to a few hundred terms against sums in f64: about 1e-6, with room for a driver's exp, sqrt and division.
const TOLERANCE: f32 = 1e-5;

#[test]
fn silu() {
    agree(6, TOLERANCE, |case| {
        let n = case.size(1..=3000);
        let x = case.random_in(&[n], -30.0, 30.0);
        vec![case.recorder.silu(&x).unwrap()]
    });
}

#[test]
fn soft_clamp() {
    agree(6, TOLERANCE, |case| {
        let (m, n) = (case.size(1..=90), case.size(1..=50));
        let limit = case.size(1..=7) as f32;
        let x = case.random_in(&[m + 2, n], -300.0, 300.0);
        let near = case.random_view(&[m, n]);
        vec![
            case.recorder.soft_clamp(&x.rows(1, m).unwrap(), limit).unwrap(),
            case.recorder.soft_clamp(&near, limit).unwrap(),
        ]
    });
}

#[test]
fn copy() {
    equal(6, |case| {
        let (m, n) = (case.size(1..=90), case.size(1..=50));
        let x = case.random_view(&[m, n]);
        let out = Tensor::resident(DType::F32, &[m + 7, n]);
        case.recorder.copy(&x, &out.rows(5, m).unwrap()).unwrap();
        vec![out]
    });
}

#[test]
fn combination() {
    agree(10, TOLERANCE, |case| {
        let (m, n, terms) = (case.size(1..=60), case.size(1..=40), case.size(1..=5));
        let mut terms: Vec<_> = (0..terms).map(|_| case.random_view(&[m, n])).collect();
        let mut coefficients = vec![0.3, -1.5, 2.0, 0.25, -0.125, 0.5, 1.0, 3.0];
        // A term that is not a number stays unread under a coefficient of 0.
        if let Some(last) = terms.last_mut() {
            *last = case.input(&[m, n], &vec![f32::NAN; m * n]);
            coefficients[1 + terms.len()] = 0.0;
        }
        let coefficients = case.input(&[8], &coefficients);
        let terms: Vec<_> = terms.iter().collect();
        vec![case.recorder.combination(&terms, &coefficients, 2).unwrap()]
    });
}

#[test]
fn blend() {
    agree(8, TOLERANCE, |case| {
        let (c, n) = (case.size(1..=9), case.size(1..=700));
        let made = case.random_view(&[c, n]);
        let given = case.random_view(&[c, n]);
        let open: Vec<f32> = (0..n).map(|i| [1.0, 0.0, 0.5][i % 7 % 3]).collect();
        let open = case.input(&[n], &open);
        vec![case.recorder.blend(&made, &given, &open).unwrap()]
    });
}

#[test]
fn softmax() {
    agree(8, TOLERANCE, |case| {
        let (m, n) = (case.size(1..=70), case.size(1..=300));
        let x = case.random_in(&[m, n], -8.0, 8.0);
        vec![case.recorder.softmax(&x, 1.7).unwrap()]
    });
}

#[test]
fn transpose() {
    equal(8, |case| {
        let (m, n) = (case.size(1..=70), case.size(1..=90));
        let x = case.random_view(&[m, n]);
        vec![case.recorder.transpose(&x).unwrap()]
    });
}

#[test]
fn norm_with_weights() {
    agree(24, TOLERANCE, |case| {
        let (m, c, which) = (case.size(1..=90), case.size(1..=200), case.size(0..=11));
        let kind = [NormKind::Layer { eps: 1e-6 }, NormKind::Rms { eps: 1e-5 }, NormKind::Channel][which % 3];
        let x = case.random_view(&[m, c]);
        let (weight, bias) = (case.random(&[c]), case.random(&[c]));
        let affine = match which / 3 {
            0 => Affine::None,
            1 => Affine::Weight { weight, bias: None },
            _ => Affine::Weight { weight, bias: Some(bias) },
        };
        vec![
            case.recorder.norm(&x, kind, affine.clone(), false).unwrap(),
            case.recorder.norm(&x, kind, affine, true).unwrap(),
        ]
    });
}

/// One timestep for all rows, one for a few rows (which splits inside of and between timesteps), and Wan's head with its
/// stride of 0.
#[test]
fn norm_with_modulation() {
    agree(16, TOLERANCE, |case| {
        let (m, c, each) = (case.size(1..=90), case.size(1..=60), case.size(1..=40));
        let (per, first_row) = if case.size(0..=1) == 0 { (m + 9, 3) } else { (each, case.size(0..=9)) };
        let steps = (first_row + m).div_ceil(per);
        let x = case.random_view(&[m, c]);
        let kind = NormKind::Layer { eps: 1e-6 };
        let (table, embedding) = (case.random(&[6, c]), case.random_view(&[steps, 6 * c]));
        let shift = Modulation { table, embedding, index: 3, stride: c, rows_per_timestep: per, first_row };
        let (table, embedding) = (case.random(&[2, c]), case.random(&[steps, c]));
        let head = Modulation { table, embedding, index: 0, stride: 0, rows_per_timestep: per, first_row };
        vec![
            case.recorder.norm(&x, kind, Affine::Modulate { shift, scale_index: 4 }, false).unwrap(),
            case.recorder.norm(&x, kind, Affine::Modulate { shift: head, scale_index: 1 }, false).unwrap(),
        ]
    });
}

/// A mean far above the deviation keeps its digits in every variant.
#[test]
fn layer_norm_of_a_large_mean() {
    // Half an ulp of 4096, the f32 mean that is subtracted, is 2.4e-4 of a deviation of 2.
    agree(1, 2.5e-4, |case| {
        let values: Vec<f32> = (0..640).map(|i| 4096.0 + (i % 7) as f32).collect();
        let x = case.input(&[10, 64], &values);
        vec![case.recorder.norm(&x, NormKind::Layer { eps: 1e-6 }, Affine::None, false).unwrap()]
    });
}

#[test]
fn heads() {
    agree(16, TOLERANCE, |case| {
        let (size, heads) = ([case.size(1..=4), case.size(1..=5), case.size(1..=5)], case.size(1..=6));
        let dims = [2 * case.size(1..=4), 2 * case.size(1..=3), 2 * case.size(1..=3)];
        let (tokens, d) = (size.iter().product(), dims.iter().sum::<usize>());
        let x = case.random_view(&[tokens, heads * d]);
        let norm = HeadNorm { weight: case.random(&[heads * d]), eps: 1e-6 };
        let entries = size.iter().zip(dims).map(|(s, d)| s * d).sum();
        let rope = Rope { table: case.random(&[entries]), size, dims };
        let kept = Tensor::resident(DType::F32, &[heads, tokens, d]);
        case.recorder.heads_into(&x, Some(norm.clone()), None, &kept).unwrap();
        vec![
            kept,
            case.recorder.heads(&x, heads, None, None).unwrap(),
            case.recorder.heads(&x, heads, None, Some(&rope)).unwrap(),
            case.recorder.heads(&x, heads, Some(norm), Some(&rope)).unwrap(),
        ]
    });
}

#[test]
fn relative_bias() {
    equal(10, |case| {
        let (buckets, heads, tokens) = (4 * case.size(1..=16), case.size(1..=8), case.size(1..=90));
        let table = case.random(&[buckets, heads]);
        vec![case.recorder.relative_bias(&table, tokens, 128.max(buckets)).unwrap()]
    });
}

/// More runs of buckets than one dispatch takes.
#[test]
fn relative_bias_with_many_buckets() {
    equal(1, |case| {
        let table = case.random(&[300, 3]);
        vec![case.recorder.relative_bias(&table, 150, 400).unwrap()]
    });
}

#[test]
fn patchify_and_back() {
    equal(10, |case| {
        let patch = [case.size(1..=2), case.size(1..=3), case.size(1..=3)];
        let latents = [
            case.size(1..=5),
            patch[0] * case.size(1..=3),
            patch[1] * case.size(1..=5),
            patch[2] * case.size(1..=5),
        ];
        let x = case.random(&latents);
        let tokens = latents[1..].iter().zip(patch).map(|(n, p)| n / p).product();
        let rows = case.random(&[tokens, latents[0] * patch.iter().product::<usize>()]);
        vec![
            case.recorder.patchify(&x, patch).unwrap(),
            case.recorder.unpatchify(&rows, patch, latents).unwrap(),
        ]
    });
}

#[test]
fn latents() {
    agree(8, TOLERANCE, |case| {
        let [c, t, h, w] = [case.size(1..=20), case.size(1..=4), case.size(1..=9), case.size(1..=9)];
        let latents = case.random(&[c, t, h, w]);
        let index = case.size(0..=t - 1) as f32;
        let frame = case.input(&[1], &[index]);
        let (mean, std) = (case.random(&[c]), case.random_in(&[c], 0.5, 2.0));
        let more = case.size(0..=c);
        let moments = case.random(&[h, w, c + more]);
        let kept = Tensor::resident(DType::F32, &[c, h, w]);
        case.recorder.to_latents(&moments, &mean, &std, &kept).unwrap();
        vec![kept, case.recorder.from_latents(&latents, &frame, &mean, &std).unwrap()]
    });
}

#[test]
fn pixels() {
    agree(16, TOLERANCE, |case| {
        let (p, h, w) = (case.size(1..=3), case.size(1..=9), case.size(1..=9));
        let form = if case.size(0..=1) == 0 { PixelForm::Wan } else { PixelForm::Unit };
        let frame = case.random(&[h * p, w * p, 3]);
        let patches = case.random_in(&[h, w, 3 * p * p], -1.5, 1.5);
        let out = Tensor::resident(DType::F32, &[h * p, w * p, 3]);
        case.recorder.pixels(&patches, p, form, &out).unwrap();
        vec![out, case.recorder.pixel_patches(&frame, p, form).unwrap()]
    });
}

#[test]
fn rgba() {
    equal(4, |case| {
        let (h, w) = (case.size(1..=40), case.size(1..=40));
        // Quarters of a level off the ties, where rounding may differ.
        let levels: Vec<f32> = (0..h * w * 3).map(|i| ((i * 37 % 263) as f32 - 3.75) / 255.0).collect();
        let x = case.input(&[h, w, 3], &levels);
        let out = Tensor::resident(DType::U32, &[h, w]);
        case.recorder.rgba(&x, &out).unwrap();
        vec![out]
    });
}

#[test]
fn average_down() {
    agree(16, TOLERANCE, |case| {
        let (fs, time, h, w) = (case.size(1..=2), case.size(1..=2), case.size(1..=6), case.size(1..=6));
        let (c_out, group) = (case.size(1..=8), case.size(1..=4));
        // C is such that C_out divides C * ft * fs^2.
        let c = c_out * group;
        let frames: Vec<_> = (0..time).map(|_| case.random(&[h * fs, w * fs, c])).collect();
        let mut frames: Vec<_> = frames.iter().map(Some).collect();
        if time == 2 && case.size(0..=1) == 0 {
            frames[0] = None;
        }
        let base = case.random_view(&[h, w, c_out]);
        vec![case.recorder.average_down(&frames, fs, &base).unwrap()]
    });
}

#[test]
fn duplicate_up() {
    agree(16, TOLERANCE, |case| {
        let (fs, time, h, w) = (case.size(1..=2), case.size(1..=2), case.size(1..=6), case.size(1..=6));
        let (c_out, divisor) = (case.size(1..=8), case.size(1..=2));
        let volume = c_out * time * fs * fs;
        let c = if volume % divisor == 0 { volume / divisor } else { c_out };
        let x = case.random_view(&[h, w, c]);
        let base = case.random_view(&[h * fs, w * fs, c_out]);
        (0..time).map(|phase| case.recorder.duplicate_up(&x, time, fs, phase, &base).unwrap()).collect()
    });
}
