//! Twin of `from_latents.wgsl` and `to_latents.wgsl`.

use super::memory::Operands;
use crate::ops;
use crate::{Error, Result};

pub(super) fn from_latents(op: &ops::FromLatents, operands: &Operands, out: &mut [f32]) -> Result<()> {
    const OP: &str = "from_latents";
    let [c, t, h, w] = op.latents.dims(OP, "latents")?;
    let latents = operands.get(&op.latents)?;
    let (mean, std) = (operands.get(&op.mean)?, operands.get(&op.std)?);
    let number = operands.get(&op.frame)?.first().copied().unwrap_or(f32::NAN);
    if !(number >= 0.0 && number < t as f32) {
        return Err(Error::WrongState { call: OP, reason: format!("frame {number} of {t} was asked for") });
    }
    let frame = number as usize;
    for (channel, (mean, std)) in mean.iter().zip(std).enumerate() {
        let plane = &latents[(channel * t + frame) * h * w..][..h * w];
        for (pixel, x) in out.chunks_exact_mut(c).zip(plane) {
            pixel[channel] = x * std + mean;
        }
    }
    Ok(())
}

pub(super) fn to_latents(op: &ops::ToLatents, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [h, w, width] = op.moments.dims("to_latents", "moments")?;
    let moments = operands.get(&op.moments)?;
    let (mean, std) = (operands.get(&op.mean)?, operands.get(&op.std)?);
    let planes = out.chunks_exact_mut((h * w).max(1)).zip(mean.iter().zip(std));
    for (channel, (plane, (mean, std))) in planes.enumerate() {
        for (y, pixel) in plane.iter_mut().zip(moments.chunks_exact(width)) {
            *y = (pixel[channel] - mean) / std;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};

    #[test]
    fn frames_are_denormalised_channels_last() {
        for frame in 0..4 {
            let mut case = Case::new(frame);
            let (c, t, h, w) = (case.size(6), 4, case.size(5), case.size(7));
            let (latents, xs) = case.random(&[c, t, h, w]);
            let (mean, ms) = case.random(&[c]);
            let (std, ss) = case.random(&[c]);
            let index = case.input(&[1], &[frame as f32]);
            let out = case.recorder.from_latents(&latents, &index, &mean, &std).unwrap();
            let expected: Vec<f64> = (0..h * w * c)
                .map(|e| {
                    let (pixel, channel) = (e / c, e % c);
                    let x = xs[(channel * t + frame as usize) * h * w + pixel];
                    f64::from(x) * f64::from(ss[channel]) + f64::from(ms[channel])
                })
                .collect();
            assert_close(&case.run(&out), &expected, 1e-6);
        }
    }

    #[test]
    fn a_frame_outside_the_latents_is_an_error() {
        for frame in [-1.0, 3.0, f32::NAN, f32::INFINITY] {
            let mut case = Case::new(1);
            let (latents, _) = case.random(&[2, 3, 2, 2]);
            let (mean, _) = case.random(&[2]);
            let index = case.input(&[1], &[frame]);
            let out = case.recorder.from_latents(&latents, &index, &mean, &mean).unwrap();
            assert_eq!(case.bytes(&out).unwrap_err().code(), "wrong_state");
        }
    }

    #[test]
    fn means_are_normalised_into_planes() {
        let mut case = Case::new(3);
        let (c, h, w) = (3, 4, 5);
        let (moments, xs) = case.random(&[h, w, 2 * c]);
        let (mean, ms) = case.random(&[c]);
        let std = case.input(&[c], &[0.5, 2.0, 3.0]);
        let (latents, before) = case.random(&[2 * c, h, w]);
        case.recorder.to_latents(&moments, &mean, &std, &latents.rows(c, c).unwrap()).unwrap();
        let expected: Vec<f64> = (0..2 * c * h * w)
            .map(|e| {
                let Some(e) = e.checked_sub(c * h * w) else { return f64::from(before[e]) };
                let (channel, pixel) = (e / (h * w), e % (h * w));
                let std = [0.5, 2.0, 3.0][channel];
                (f64::from(xs[pixel * 2 * c + channel]) - f64::from(ms[channel])) / std
            })
            .collect();
        assert_close(&case.run(&latents), &expected, 1e-6);
    }
}
