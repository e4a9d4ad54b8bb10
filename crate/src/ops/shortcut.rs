//! The space-time shortcuts of the residual VAE: WanAvgDown3D and WanDupUp3D in autoencoder_kl_wan.py.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// `out[y, x, c] = base[y, x, c] + mean over g < G of v(c * G + g)`, where `v(n)` with `n = ((i * ft + a) * fs + b) * fs + d` is
/// `frames[a][y * fs + b, x * fs + d, i]`, ft = `frames.len()` and G = C * ft * fs^2 / C_out.
#[derive(Debug, Clone)]
pub struct AverageDown {
    /// ft frames `[H, W, C]`; `None` is a frame of zeros (the padding in front of the first chunk).
    pub frames: Vec<Option<Tensor>>,
    /// Spatial factor, fs.
    pub factor: usize,
    /// `[H/fs, W/fs, C_out]`.
    pub base: Tensor,
    /// `[H/fs, W/fs, C_out]`.
    pub out: Tensor,
}

/// `out[y, x, c] = base[y, x, c] + x[y / fs, x / fs, (((c * ft + a) * fs + y % fs) * fs + x % fs) / R]`, where `R = C_out * ft * fs^2 / C`.
#[derive(Debug, Clone)]
pub struct DuplicateUp {
    /// `[H, W, C]`.
    pub x: Tensor,
    /// Temporal factor, ft.
    pub time_factor: usize,
    /// Spatial factor, fs.
    pub factor: usize,
    /// Which of the ft output frames, a.
    pub phase: usize,
    /// `[H * fs, W * fs, C_out]`.
    pub base: Tensor,
    /// `[H * fs, W * fs, C_out]`.
    pub out: Tensor,
}

impl AverageDown {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        self.frames.iter().flatten().chain([&self.base]).collect()
    }

    pub(super) fn flops(&self) -> u64 {
        self.frames.iter().flatten().map(|f| f.len() as u64).sum()
    }
}

impl DuplicateUp {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.base]
    }

    pub(super) fn flops(&self) -> u64 {
        self.out.len() as u64
    }
}

impl Recorder {
    /// Records the averaging shortcut of one or two frames, added to `base`, into a new tensor.
    ///
    /// # Shapes
    /// frames `[H, W, C]`, base `[H/fs, W/fs, C_out]`; C_out divides `C * ft * fs^2`.
    pub fn average_down(
        &mut self,
        frames: &[Option<&Tensor>],
        factor: usize,
        base: &Tensor,
    ) -> Result<Tensor> {
        const OP: &str = "average_down";
        let [h, w, c_out] = base.dims(OP, "base")?;
        let Some(first) = frames.iter().flatten().next() else {
            return Err(Error::ShapeMismatch { op: OP, what: "frames", expected: vec![1], found: vec![0] });
        };
        let [_, _, c] = first.dims(OP, "frame")?;
        for frame in frames.iter().flatten() {
            frame.expect(OP, "frame", &[h * factor, w * factor, c])?;
        }
        let volume = c * frames.len() * factor * factor;
        if frames.len() > 2 || c_out == 0 || !volume.is_multiple_of(c_out) {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "channels",
                expected: vec![volume],
                found: vec![c_out],
            });
        }
        let out = Tensor::temporary(base.shape());
        self.push(Op::AverageDown(AverageDown {
            frames: frames.iter().map(|f| f.cloned()).collect(),
            factor,
            base: base.clone(),
            out: out.clone(),
        }))?;
        Ok(out)
    }

    /// Records frame `phase` of the duplicating shortcut, added to `base`, into a new tensor.
    ///
    /// # Shapes
    /// x `[H, W, C]`, base `[H * fs, W * fs, C_out]`; C divides `C_out * ft * fs^2`.
    pub fn duplicate_up(
        &mut self,
        x: &Tensor,
        time_factor: usize,
        factor: usize,
        phase: usize,
        base: &Tensor,
    ) -> Result<Tensor> {
        const OP: &str = "duplicate_up";
        let [h, w, c] = x.dims(OP, "x")?;
        let [_, _, c_out] = base.dims(OP, "base")?;
        base.expect(OP, "base", &[h * factor, w * factor, c_out])?;
        let volume = c_out * time_factor * factor * factor;
        if c == 0 || !volume.is_multiple_of(c) || phase >= time_factor {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "channels",
                expected: vec![volume],
                found: vec![c],
            });
        }
        let out = Tensor::temporary(base.shape());
        self.push(Op::DuplicateUp(DuplicateUp {
            x: x.clone(),
            time_factor,
            factor,
            phase,
            base: base.clone(),
            out: out.clone(),
        }))?;
        Ok(out)
    }
}
