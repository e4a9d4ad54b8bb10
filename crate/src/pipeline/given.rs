//! What a clip is made from besides its prompt: pictures and clips that it is to contain, or a clip to change.
//!
//! The VAE is causal and a latent frame after the first stands for several frames. A latent frame is given when all its frames are.
//! Where a run of given frames fills no latent frame at all (a lone last frame, a keyframe in the middle), the one that holds most of
//! it is given too, its other frames standing still. Given frames that share a latent frame with frames to be made, at the end of a
//! longer run, are made anew: [`Timeline::dropped`] counts them.

use std::ops::Range;
use std::rc::Rc;

use crate::{Error, Result};

/// Pictures of one size, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footage {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// `[frames, height, width, 3]`, red, green, blue.
    pub rgb: Rc<[u8]>,
}

impl Footage {
    /// Whole pictures.
    pub fn frames(&self) -> usize {
        self.rgb.len().checked_div(self.frame_len()).unwrap_or(0)
    }

    /// Pictures of `height * width * 4` bytes each; how opaque they are is not looked at.
    pub fn from_rgba(width: usize, height: usize, rgba: &[u8]) -> Self {
        let rgb = rgba.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
        Self { width, height, rgb }
    }

    /// Black pictures, to plan with.
    pub(super) fn black(width: usize, height: usize, frames: usize) -> Self {
        let len = [width, height, 3].into_iter().fold(frames, usize::saturating_mul);
        Self { width, height, rgb: vec![0; len].into() }
    }

    /// Some of the pictures; none where there are not so many.
    pub(super) fn part(&self, frames: Range<usize>) -> Self {
        let len = self.frame_len();
        let rgb = self.rgb.get(frames.start * len..frames.end * len).unwrap_or_default().into();
        Self { rgb, ..*self }
    }

    fn frame_len(&self) -> usize {
        self.width.saturating_mul(self.height).saturating_mul(3)
    }

    fn frame(&self, index: usize) -> &[u8] {
        let len = self.frame_len();
        self.rgb.get(index * len..(index + 1) * len).unwrap_or_default()
    }

    /// Pictures of exactly the clip's size, at least one and none cut short.
    fn check(&self, option: &str, [width, height]: [usize; 2]) -> Result<()> {
        let whole = self.frames() > 0 && self.rgb.len() == self.frames() * self.frame_len();
        if (self.width, self.height) == (width, height) && whole {
            return Ok(());
        }
        let found = match whole {
            true => format!("{}x{}", self.width, self.height),
            false => format!("{} bytes for {}x{}", self.rgb.len(), self.width, self.height),
        };
        let expected = format!("RGB pictures of {width}x{height}, the size of the clip");
        Err(Error::OptionInvalid { option: option.into(), expected, found })
    }
}

/// A byte as the VAE sees it, in -1..1: diffusers' `VideoProcessor`.
fn value(byte: u8) -> f32 {
    f32::from(byte) / 255.0 * 2.0 - 1.0
}

/// Frames that the clip is to contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// From 0 up, the frame of the clip that its first picture is. Below 0, counted from the end, the one that its last picture is: -1
    /// is the clip's last frame.
    pub at: isize,
    /// One picture, or several that follow each other.
    pub footage: Footage,
}

impl Given {
    /// The frames that it is, of a clip of `frames`; `None` where it does not lie within.
    pub(super) fn places(&self, frames: usize) -> Option<Range<usize>> {
        let count = self.footage.frames();
        let start = match self.at.is_negative() {
            false => self.at.unsigned_abs(),
            true => (frames + 1).checked_sub(self.at.unsigned_abs())?.checked_sub(count)?,
        };
        let end = start.checked_add(count)?;
        (end <= frames).then_some(start..end)
    }
}

/// A clip to change.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// At least as long as the clip to be made; what is longer is not used.
    pub footage: Footage,
    /// How much noise it is given, 0 (left as it is) to 1 (made anew).
    pub strength: f64,
    /// Where it may change; everywhere if there is none.
    pub mask: Option<Mask>,
}

/// Where a clip may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// `[frames, height, width]`: from 128 on the place may change. One picture stands for all frames.
    pub values: Rc<[u8]>,
}

impl Mask {
    /// 1 for every place of the latents `[T, h, w]` that may change, 0 elsewhere: it may where any of its pixels may.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for another size than the clip's, or neither one picture nor as many as the clip has.
    pub(super) fn open(
        &self,
        [frames, height, width]: [usize; 3],
        [t, h, w]: [usize; 3],
        stride: usize,
    ) -> Result<Vec<f32>> {
        let plane = height * width;
        let pictures = self.values.len().checked_div(plane).unwrap_or(0);
        let fits = (self.width, self.height) == (width, height) && self.values.len() == pictures * plane;
        if !fits || (pictures != 1 && pictures < frames) {
            return Err(Error::OptionInvalid {
                option: "mask".into(),
                expected: format!("one picture of {width}x{height}, or {frames} of them"),
                found: format!("{} bytes for {}x{}", self.values.len(), self.width, self.height),
            });
        }
        let [block_h, block_w] = [height / h.max(1), width / w.max(1)].map(|side| side.max(1));
        let mut open = vec![0.0; t * h * w];
        for frame in 0..frames {
            let picture = if pictures == 1 { 0 } else { frame };
            let latent = latent_of(frame, stride);
            let rows = self.values.chunks_exact(width).skip(picture * height).take(height);
            for (y, row) in rows.enumerate() {
                for (x, _) in row.iter().enumerate().filter(|(_, v)| **v >= 128) {
                    if let Some(place) = open.get_mut((latent * h + y / block_h) * w + x / block_w) {
                        *place = 1.0;
                    }
                }
            }
        }
        Ok(open)
    }
}

impl Edit {
    /// The frames to be encoded, `[frames, height, width, 3]` in -1..1.
    pub(super) fn pixels(&self, frames: usize) -> Vec<f32> {
        (0..frames).flat_map(|frame| self.footage.frame(frame)).map(|&byte| value(byte)).collect()
    }

    pub(super) fn check(&self, [frames, height, width]: [usize; 3]) -> Result<()> {
        self.footage.check("video", [width, height])?;
        let invalid = |option: &str, expected: String, found: String| {
            Err(Error::OptionInvalid { option: option.into(), expected, found })
        };
        if self.footage.frames() < frames {
            let found = format!("{} frames", self.footage.frames());
            return invalid("video", format!("at least the {frames} frames of the clip"), found);
        }
        if !(0.0..=1.0).contains(&self.strength) {
            return invalid("strength", "0 to 1".into(), self.strength.to_string());
        }
        Ok(())
    }
}

fn latent_of(frame: usize, stride: usize) -> usize {
    frame.div_ceil(stride.max(1))
}

/// The frames of a latent frame.
pub(super) fn frames_of(latent: usize, stride: usize) -> Range<usize> {
    match latent.checked_sub(1) {
        None => 0..1,
        Some(before) => before * stride + 1..latent * stride + 1,
    }
}

/// Which latent frames are given, and the frames that are encoded for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// One for every latent frame.
    pub given: Vec<bool>,
    /// Given frames that are made anew all the same.
    pub dropped: usize,
    /// What is shown in each frame up to the last given latent frame: item and picture, the nearest where none is given.
    shown: Vec<(usize, usize)>,
}

impl Timeline {
    /// Lays `given` into a clip `[frames, height, width]`; `stride` is the temporal factor of the VAE.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for pictures of another size, beyond the clip's ends, or two at one place.
    pub(super) fn new(
        given: &[Given],
        [frames, height, width]: [usize; 3],
        stride: usize,
    ) -> Result<Option<Self>> {
        let mut covered: Vec<Option<(usize, usize)>> = vec![None; frames];
        for (item, given) in given.iter().enumerate() {
            let Given { at, footage } = given;
            let option = format!("given[{item}]");
            footage.check(&option, [width, height])?;
            let count = footage.frames();
            let places = given.places(frames).and_then(|places| covered.get_mut(places));
            let Some(places) = places else {
                let expected = format!("pictures inside the clip's {frames} frames");
                let found = format!("{count} at {at}");
                return Err(Error::OptionInvalid { option, expected, found });
            };
            for (index, place) in places.iter_mut().enumerate() {
                if let Some((other, _)) = place {
                    let expected = "frames that nothing else gives".into();
                    let found = format!("{count} at {at}, where given[{other}] is");
                    return Err(Error::OptionInvalid { option, expected, found });
                }
                *place = Some((item, index));
            }
        }
        if covered.iter().all(Option::is_none) {
            return Ok(None);
        }
        let latents = latent_of(frames.saturating_sub(1), stride) + 1;
        let count = |latent| covered.get(frames_of(latent, stride)).map_or(0, |f| f.iter().flatten().count());
        let mut is_given: Vec<bool> =
            (0..latents).map(|latent| count(latent) == frames_of(latent, stride).len()).collect();
        for run in runs(&covered) {
            let touched = latent_of(run.start, stride)..latent_of(run.end - 1, stride) + 1;
            if touched.clone().any(|latent| is_given.get(latent) == Some(&true)) {
                continue;
            }
            // The earliest of those that hold most of it.
            let most = touched.rev().max_by_key(|&latent| count(latent));
            if let Some(place) = most.and_then(|latent| is_given.get_mut(latent)) {
                *place = true;
            }
        }
        let dropped = (0..latents).filter(|&l| is_given.get(l) == Some(&false)).map(count).sum();
        let last = is_given.iter().rposition(|given| *given).unwrap_or(0);
        let shown = (0..frames_of(last, stride).end).filter_map(|frame| nearest(&covered, frame)).collect();
        Ok(Some(Self { given: is_given, dropped, shown }))
    }

    /// The frames to be encoded, `[frames, height, width, 3]` in -1..1: up to the last given latent frame.
    pub(super) fn pixels(&self, given: &[Given]) -> Vec<f32> {
        let pictures = self.shown.iter().filter_map(|&(item, index)| Some((given.get(item)?, index)));
        pictures.flat_map(|(item, index)| item.footage.frame(index)).map(|&byte| value(byte)).collect()
    }

    /// How many frames are encoded.
    pub(super) fn encoded_frames(&self) -> usize {
        self.shown.len()
    }

    /// 0 for every place of the latents `[T, h, w]` that is given, 1 elsewhere.
    pub(super) fn open(&self, plane: usize) -> Vec<f32> {
        let latents = self.given.iter().map(|&given| if given { 0.0 } else { 1.0 });
        latents.flat_map(|open| std::iter::repeat_n(open, plane)).collect()
    }
}

/// Frames that are given one after the other.
fn runs(covered: &[Option<(usize, usize)>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (frame, _) in covered.iter().enumerate().filter(|(_, place)| place.is_some()) {
        match runs.last_mut() {
            Some(run) if run.end == frame => run.end += 1,
            _ => runs.push(frame..frame + 1),
        }
    }
    runs
}

/// The picture given for the frame or, where there is none, for the frame nearest to it, the earlier of two.
fn nearest(covered: &[Option<(usize, usize)>], frame: usize) -> Option<(usize, usize)> {
    let distances =
        covered.iter().enumerate().filter_map(|(at, place)| Some((at.abs_diff(frame), (*place)?)));
    distances.min_by_key(|(distance, _)| *distance).map(|(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footage(frames: usize, first: u8) -> Footage {
        let rgb = (0..frames).flat_map(|i| [first + i as u8; 2 * 3 * 3]).collect();
        Footage { width: 3, height: 2, rgb }
    }

    fn timeline(given: &[Given], frames: usize) -> Result<Option<Timeline>> {
        Timeline::new(given, [frames, 2, 3], 4)
    }

    /// First byte of what is shown in each encoded frame.
    fn shown(timeline: &Timeline, given: &[Given]) -> Vec<u8> {
        let pixels = timeline.pixels(given);
        pixels.chunks_exact(18).map(|frame| ((frame[0] + 1.0) * 127.5).round() as u8).collect()
    }

    fn latents(timeline: &Timeline) -> String {
        timeline.given.iter().map(|given| if *given { 'g' } else { '.' }).collect()
    }

    #[test]
    fn a_first_frame_and_a_beginning() {
        let picture = [Given { at: 0, footage: footage(1, 9) }];
        let found = timeline(&picture, 17).unwrap().unwrap();
        assert_eq!((latents(&found).as_str(), found.dropped), ("g....", 0));
        assert_eq!(shown(&found, &picture), [9]);

        // Seven frames: the last two would be half of a latent frame.
        let clip = [Given { at: 0, footage: footage(7, 1) }];
        let found = timeline(&clip, 17).unwrap().unwrap();
        assert_eq!((latents(&found).as_str(), found.dropped), ("gg...", 2));
        assert_eq!(shown(&found, &clip), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn an_end_a_keyframe_and_both_ends_hold_still() {
        let last = [Given { at: -1, footage: footage(1, 5) }];
        let found = timeline(&last, 9).unwrap().unwrap();
        assert_eq!((latents(&found).as_str(), shown(&found, &last)), ("..g", vec![5; 9]));

        let ends = [Given { at: 0, footage: footage(1, 1) }, Given { at: -1, footage: footage(1, 5) }];
        let found = timeline(&ends, 9).unwrap().unwrap();
        assert_eq!(latents(&found), "g.g");
        assert_eq!(shown(&found, &ends), [1, 1, 1, 1, 1, 5, 5, 5, 5]);

        let key = [Given { at: 6, footage: footage(1, 7) }];
        let found = timeline(&key, 17).unwrap().unwrap();
        assert_eq!((latents(&found).as_str(), found.dropped), ("..g..", 0));

        // Two frames on both sides of a border: the earlier latent frame.
        let pair = [Given { at: 4, footage: footage(2, 7) }];
        let found = timeline(&pair, 17).unwrap().unwrap();
        assert_eq!((latents(&found).as_str(), found.dropped), (".g...", 1));
    }

    #[test]
    fn an_ending_is_counted_from_its_last_frame() {
        let ending = [Given { at: -1, footage: footage(9, 1) }];
        let found = timeline(&ending, 17).unwrap().unwrap();
        // Frames 8 to 16: latent frames 3 and 4 are whole, frame 8 alone is not.
        assert_eq!((latents(&found).as_str(), found.dropped), ("...gg", 1));
        assert_eq!(shown(&found, &ending)[8..], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn items_that_touch_are_one_run() {
        let given = [Given { at: 0, footage: footage(2, 1) }, Given { at: 2, footage: footage(3, 3) }];
        let found = timeline(&given, 9).unwrap().unwrap();
        assert_eq!((latents(&found).as_str(), found.dropped), ("gg.", 0));
        assert_eq!(shown(&found, &given), [1, 2, 3, 4, 5]);
        assert_eq!(found.open(2), [0., 0., 0., 0., 1., 1.]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(timeline(&[], 9), Ok(None));
        let at = |at, count| Given { at, footage: footage(count, 1) };
        for given in [
            vec![at(9, 1)],
            vec![at(0, 10)],
            vec![at(-9, 2)],
            vec![at(-10, 1)],
            vec![at(isize::MAX, 1)],
            vec![at(isize::MIN, 1)],
            vec![at(0, 3), at(2, 1)],
            vec![Given { at: 0, footage: Footage { width: 4, ..footage(1, 1) } }],
            vec![Given { at: 0, footage: Footage { rgb: Rc::from([0; 20]), ..footage(1, 1) } }],
            vec![Given { at: 0, footage: Footage { width: 0, height: 0, rgb: Rc::from([]) } }],
        ] {
            assert_eq!(timeline(&given, 9).unwrap_err().code(), "option_invalid", "{given:?}");
        }
    }

    #[test]
    fn a_place_may_change_where_any_of_its_pixels_may() {
        let mut values = vec![0u8; 4 * 4];
        values[4 + 3] = 128;
        let mask = Mask { width: 4, height: 4, values: values.clone().into() };
        let open = mask.open([5, 4, 4], [2, 2, 2], 4).unwrap();
        assert_eq!(open, [0., 1., 0., 0., 0., 1., 0., 0.]);

        let moving: Vec<u8> = (0..5).flat_map(|i| if i == 2 { vec![255; 16] } else { vec![0; 16] }).collect();
        let mask = Mask { width: 4, height: 4, values: moving.into() };
        assert_eq!(mask.open([5, 4, 4], [2, 2, 2], 4).unwrap(), [0., 0., 0., 0., 1., 1., 1., 1.]);
        assert!(mask.open([9, 4, 4], [3, 2, 2], 4).is_err());
        assert!(Mask { width: 2, height: 8, values: values.into() }.open([1, 4, 4], [1, 2, 2], 4).is_err());
    }

    #[test]
    fn a_clip_to_change_is_long_enough_and_its_strength_a_share() {
        let edit = |frames, strength| Edit { footage: footage(frames, 1), strength, mask: None };
        assert!(edit(9, 0.5).check([9, 2, 3]).is_ok());
        assert!(edit(12, 1.0).check([9, 2, 3]).is_ok());
        for bad in [edit(8, 0.5), edit(9, 1.1), edit(9, -0.1), edit(9, f64::NAN)] {
            assert_eq!(bad.check([9, 2, 3]).unwrap_err().code(), "option_invalid");
        }
        assert_eq!(edit(12, 1.0).pixels(9).len(), 9 * 18);
    }
}
