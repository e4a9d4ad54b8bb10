//! Small pictures of latents, by a linear map that is stored with the model.

use crate::config::LatentRgb;

/// A picture of each latent frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Of the latents.
    pub width: usize,
    /// Of the latents.
    pub height: usize,
    /// Latent frames.
    pub frames: usize,
    /// RGBA bytes, `frames * height * width * 4`.
    pub rgba: Vec<u8>,
}

impl Preview {
    /// `latents` are `[C, T, H, W]`, normalised; `map` has as many rows as they have channels.
    pub(super) fn new(
        latents: &[f32],
        [channels, frames, height, width]: [usize; 4],
        map: &LatentRgb,
    ) -> Self {
        let places = frames * height * width;
        let byte = |place: usize, colour: usize| {
            let bias = map.bias.get(colour).copied().unwrap_or(0.0);
            let value = (0..channels).fold(bias, |sum, channel| {
                let latent = latents.get(channel * places + place).copied().unwrap_or(0.0);
                let weight = map.weights.get(channel).and_then(|row| row.get(colour)).copied().unwrap_or(0.0);
                sum + f64::from(latent) * weight
            });
            (value.clamp(0.0, 1.0) * 255.0).round() as u8
        };
        let rgba =
            (0..places).flat_map(|place| [byte(place, 0), byte(place, 1), byte(place, 2), 255]).collect();
        Self { width, height, frames, rgba }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_map_of_each_place() {
        let map = LatentRgb { weights: vec![[1.0, 0.0, 0.5], [0.0, -1.0, 0.5]], bias: [0.0, 1.0, 0.25] };
        // Two channels, two frames of 1 x 2.
        let latents = [0.0, 1.0, 0.5, 9.0, 0.0, 1.0, 0.2, -9.0];
        let found = Preview::new(&latents, [2, 2, 1, 2], &map);
        assert_eq!((found.width, found.height, found.frames), (2, 1, 2));
        let expected = [[0, 255, 64, 255], [255, 0, 255, 255], [128, 204, 153, 255], [255, 255, 64, 255]];
        assert_eq!(found.rgba, expected.concat());
    }
}
