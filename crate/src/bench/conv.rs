//! Causal convolutions of frames, as the VAE has them: `frames` of them deep and `kernel` pixels wide and high, `height` and `width` of
//! the output.

use super::operation::{Operation, input};
use super::random::{Format, Input};
use crate::Result;
use crate::ops::{ConvOptions, ConvWeight};
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// A convolution that gives one frame of the size of those it takes, or twice that.
#[derive(Debug)]
pub struct Conv {
    /// Depth of the kernel.
    pub frames: usize,
    /// Height and width of the kernel, an odd number.
    pub kernel: usize,
    /// Channels of the frames.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Of the output.
    pub height: usize,
    /// Of the output.
    pub width: usize,
    /// Whether frames are doubled first.
    pub upsample: bool,
    /// Of the weight, not quantised.
    pub format: Format,
}

impl Conv {
    fn scale(&self) -> usize {
        if self.upsample { 2 } else { 1 }
    }

    fn depth(&self) -> usize {
        self.frames * self.kernel * self.kernel * self.channels_in
    }
}

impl Operation for Conv {
    fn shape(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("frames", self.frames),
            ("kernel", self.kernel),
            ("channelsIn", self.channels_in),
            ("channelsOut", self.channels_out),
            ("height", self.height),
            ("width", self.width),
            ("upsample", self.scale()),
        ]
    }

    fn flops(&self) -> u64 {
        2 * (self.height * self.width * self.channels_out) as u64 * self.depth() as u64
    }

    fn inputs(&self) -> Vec<Input> {
        let frame = [self.height / self.scale(), self.width / self.scale(), self.channels_in];
        let weight = Input::weight(self.format, self.depth(), self.channels_out, 1);
        let frames = (0..self.frames).map(|t| Input::activations(&frame, 2 + t as u64));
        std::iter::once(weight).chain(frames).collect()
    }

    fn record(&self, rec: &mut Recorder, inputs: &[Input]) -> Result<Tensor> {
        let weight = ConvWeight {
            matrix: input(inputs, 0)?.tensor.clone(),
            channels_in: self.channels_in,
            channels_out: self.channels_out,
            kernel: [self.frames, self.kernel, self.kernel],
        };
        let frames: Vec<_> = inputs.iter().skip(1).map(|input| Some(&input.tensor)).collect();
        let options = ConvOptions { upsample: self.upsample, ..ConvOptions::same(self.kernel) };
        let out = rec.conv(&frames, &weight, None, options, None)?;
        out.reshape(&[self.height * self.width, self.channels_out])
    }

    fn expected(&self, inputs: &[Input], row: usize, columns: &[usize]) -> Vec<f64> {
        let Some((weight, frames)) = inputs.split_first() else { return Vec::new() };
        let (y, x) = (row / self.width, row % self.width);
        // What the kernel sees around the pixel, in the order of the weight's rows; zeros outside.
        let at = |position: usize, tap: usize, size: usize| {
            (position + tap).checked_sub(self.kernel / 2).filter(|p| *p < size).map(|p| p / self.scale())
        };
        let mut seen = Vec::with_capacity(self.depth());
        for frame in frames {
            for (j, i) in (0..self.kernel * self.kernel).map(|tap| (tap / self.kernel, tap % self.kernel)) {
                let pixel = at(y, j, self.height).zip(at(x, i, self.width));
                let first = pixel.map(|(y, x)| (y * (self.width / self.scale()) + x) * self.channels_in);
                seen.extend((0..self.channels_in).map(|c| first.map_or(0.0, |first| frame.value(first + c))));
            }
        }
        let dot =
            |column: &usize| seen.iter().zip(weight.column(*column, self.depth())).map(|(x, w)| x * w).sum();
        columns.iter().map(dot).collect()
    }
}
