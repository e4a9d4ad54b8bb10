//! Pictures and clips to latents.

use super::model::Model;
use super::options::{MAX_FRAMES, MAX_SIDE};
use super::residency::StageProgram;
use super::stages::{self, EncoderState};
use crate::{CancelFlag, Error, Result};

impl Model {
    /// Encodes RGB frames `[F, H, W, 3]` in -1..1 into latents `[C, T, H / s, W / s]`, normalised as the transformer sees them: the
    /// mode of the VAE's distribution, or what a tiny encoder gives. F is 1 plus a multiple of the temporal factor; one chunk is on the
    /// device at a time.
    ///
    /// # Errors
    /// [`Error::SizeUnsupported`], [`Error::FramesUnsupported`], [`Error::ShapeMismatch`] when `rgb` has another length,
    /// [`Error::Cancelled`], what the device reports.
    pub async fn encode_video(
        &self,
        rgb: &[f32],
        [frames, height, width]: [usize; 3],
        cancel: &CancelFlag,
    ) -> Result<Vec<f32>> {
        let config = &self.architecture.configs.vae;
        let (stride, scale) = (config.scale_factor_temporal, config.scale_factor_spatial);
        let fits = |side: usize| (1..=MAX_SIDE).contains(&side) && side.is_multiple_of(scale);
        if !fits(width) || !fits(height) {
            let nearest = |side: usize| (side.min(MAX_SIDE) / scale).max(1) * scale;
            return Err(Error::SizeUnsupported {
                width,
                height,
                multiple: scale,
                nearest_width: nearest(width),
                nearest_height: nearest(height),
            });
        }
        if !(1..=MAX_FRAMES).contains(&frames) || !(frames - 1).is_multiple_of(stride) {
            let nearest = (frames.clamp(1, MAX_FRAMES) - 1) / stride * stride + 1;
            return Err(Error::FramesUnsupported { frames, stride, nearest });
        }
        let frame_len = height * width * 3;
        // Both factors are bounded, but their product need not fit wasm's 32 bits.
        if frames.checked_mul(frame_len) != Some(rgb.len()) {
            return Err(Error::ShapeMismatch {
                op: "encode_video",
                what: "frames",
                expected: vec![frames, height, width, 3],
                found: vec![rgb.len()],
            });
        }
        let state = EncoderState::new(&self.architecture, [frames, height, width]);
        let result = self.encode_chunks(rgb, frame_len, &state, cancel).await;
        for tensor in state.tensors() {
            self.executor.release(&tensor);
        }
        let latent_frames = result?;
        // Frames of [C, H, W] to [C, T, H, W].
        let plane = (height / scale) * (width / scale);
        let mut latents = Vec::with_capacity(latent_frames.len() * state.out.len());
        for c in 0..config.z_dim {
            for frame in &latent_frames {
                latents.extend(frame.iter().skip(c * plane).take(plane));
            }
        }
        Ok(latents)
    }

    async fn encode_chunks(
        &self,
        rgb: &[f32],
        frame_len: usize,
        state: &EncoderState,
        cancel: &CancelFlag,
    ) -> Result<Vec<Vec<f32>>> {
        let stride = self.architecture.configs.vae.scale_factor_temporal.max(1);
        let mut latents = Vec::new();
        let mut later = None;
        for index in 0..=state.frames.saturating_sub(1) / stride {
            let taken = self.architecture.encoder.takes(index, state.frames, stride);
            for (tensor, frame) in state.inputs.iter().zip(taken) {
                let pixels = rgb.get(frame * frame_len..(frame + 1) * frame_len).unwrap_or_default();
                self.executor.upload(tensor, bytemuck::cast_slice(pixels))?;
            }
            let record = || Ok(StageProgram::new(stages::encode(&self.architecture, state, index == 0)?));
            let mut only_once;
            let program = match &mut later {
                _ if index == 0 => {
                    only_once = record()?;
                    &mut only_once
                }
                Some(program) => program,
                none => none.insert(record()?),
            };
            self.residency.run(program, cancel).await?;
            latents.push(bytemuck::pod_collect_to_vec(&self.executor.read(&state.out).await?));
        }
        Ok(latents)
    }
}
