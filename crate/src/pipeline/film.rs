//! A clip of any length: windows that overlap, each of them made to go on from the end of the one before.
//!
//! Every window is a [`Session`] of its own, so that a minute takes no more memory than a window. The frames that two windows share
//! are given to the later one, which sees how things move there; when it has been made, they fade from the earlier one's to its own, so
//! that what the VAE loses on the way shows no seam.

use std::rc::Rc;

use super::architecture::Configs;
use super::given::{Footage, Given, Timeline};
use super::model::Model;
use super::options::{Clip, GenerateOptions, LONGEST_SECONDS};
use super::session::{FramesEvent, Session, StepEvent, TextEvent};
use crate::{CancelFlag, Error, Result};

/// A prompt that holds from some moment on.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedPrompt {
    /// Seconds from the beginning.
    pub at: f64,
    /// What the clip shows from then on.
    pub prompt: String,
}

/// A stretch of a film that is made at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its first frame's place in the film.
    pub start: usize,
    /// Frames.
    pub frames: usize,
    /// How many of them, at its beginning, are the end of the window before.
    pub overlap: usize,
    /// What it shows.
    pub prompt: String,
}

/// Lays out the windows of what `options` ask for: `seconds` long, in windows of `frames`; one window where `seconds` is not stated.
///
/// The length is brought up to whole latent frames. All windows are equally long; the last one shares more with the one before it where the
/// length asks for that.
///
/// # Errors
/// [`Error::OptionInvalid`] for seconds, an overlap or a moment out of range, [`Error::FramesUnsupported`], what [`Timeline`] says of given
/// frames.
pub fn windows(options: &GenerateOptions, configs: &Configs) -> Result<Vec<Window>> {
    let defaults = &configs.defaults;
    let stride = configs.vae.scale_factor_temporal.max(1);
    let longest = options.frames.unwrap_or(defaults.frames);
    let invalid = |option: &str, expected: String, found: String| {
        Err(Error::OptionInvalid { option: option.into(), expected, found })
    };
    let total = match options.seconds {
        None => longest,
        Some(seconds) if seconds > 0.0 && seconds <= LONGEST_SECONDS => {
            let frames = (seconds * defaults.fps).round().max(1.0) as usize;
            (frames - 1).div_ceil(stride) * stride + 1
        }
        Some(seconds) => {
            let expected = format!("more than 0 and at most {LONGEST_SECONDS}");
            return invalid("seconds", expected, seconds.to_string());
        }
    };
    let frames = total.min(longest);
    // Whatever else is wrong with the window is found when it is opened.
    if frames == 0 || !(frames - 1).is_multiple_of(stride) {
        return Err(Error::FramesUnsupported {
            frames,
            stride,
            nearest: (frames.saturating_sub(1) + stride / 2) / stride * stride + 1,
        });
    }
    let latents = (frames - 1) / stride + 1;
    // A quarter, as SkyReels V2 goes on, but two latent frames at least: one alone does not tell how things move.
    let usual = (latents / 4).max(2).min(latents.saturating_sub(1)).max(1);
    let overlap = options.overlap.unwrap_or((usual - 1) * stride + 1);
    if total > frames && (overlap == 0 || overlap >= frames || !(overlap - 1).is_multiple_of(stride)) {
        let expected = format!("a multiple of {stride}, plus 1, below the {frames} frames of a window");
        return invalid("overlap", expected, overlap.to_string());
    }
    if options.edit.is_some() && total > frames {
        return invalid(
            "seconds",
            format!("at most the {frames} frames of one window when a clip is changed"),
            total.to_string(),
        );
    }
    if !options.given.is_empty() {
        let [width, height] = configs.size(options)?;
        Timeline::new(&options.given, [total, height, width], stride)?;
    }
    for (index, TimedPrompt { at, .. }) in options.prompts.iter().enumerate() {
        if !(0.0..total as f64 / defaults.fps).contains(at) {
            let expected = format!("from 0 to the film's {:.2} seconds", total as f64 / defaults.fps);
            return invalid(&format!("prompts[{index}].at"), expected, at.to_string());
        }
    }
    let mut windows: Vec<Window> = Vec::new();
    loop {
        let before = windows.last().map_or(0, |w| w.start + w.frames);
        let start = before.saturating_sub(overlap).min(total - frames);
        let shared = before - start;
        // The prompt of the moment in the middle of what is new.
        let moment = (start + (shared + frames) / 2) as f64 / defaults.fps;
        windows.push(Window { start, frames, overlap: shared, prompt: prompt_at(options, moment) });
        if start + frames >= total {
            return Ok(windows);
        }
    }
}

fn prompt_at(options: &GenerateOptions, moment: f64) -> String {
    let begun = options.prompts.iter().filter(|timed| timed.at <= moment);
    let latest = begun.max_by(|a, b| a.at.total_cmp(&b.at));
    latest.map_or(&options.prompt, |timed| &timed.prompt).clone()
}

impl Window {
    /// The options of this window alone; `before` are the frames it shares with the one before.
    pub(super) fn options(
        &self,
        film: &GenerateOptions,
        total: usize,
        index: usize,
        before: Option<Footage>,
    ) -> GenerateOptions {
        let new = self.start + self.overlap..self.start + self.frames;
        let tail = before.map(|footage| Given { at: 0, footage });
        let given = film.given.iter().filter_map(|given| {
            let places = given.places(total)?;
            let (from, to) = (places.start.max(new.start), places.end.min(new.end));
            let footage = (from < to).then(|| given.footage.part(from - places.start..to - places.start))?;
            Some(Given { at: isize::try_from(from - self.start).ok()?, footage })
        });
        GenerateOptions {
            prompt: self.prompt.clone(),
            frames: Some(self.frames),
            seed: Some(film.seed.unwrap_or(0).wrapping_add(index as u64)),
            given: tail.into_iter().chain(given).collect(),
            seconds: None,
            overlap: None,
            prompts: Vec::new(),
            ..film.clone()
        }
    }
}

/// A film in the making: for each window [`Film::encode`], [`Film::step`] and [`Film::next_frames`] until each gives `None`, then
/// [`Film::next_window`] until that is false. Not calling is pausing, dropping it is cancelling.
pub struct Film {
    model: Rc<Model>,
    options: GenerateOptions,
    windows: Vec<Window>,
    cancel: CancelFlag,
    index: usize,
    session: Session,
    /// RGBA frames at the end of the window so far that the next one shares, not yet delivered.
    held: Vec<u8>,
    /// Those of the window before, which its first frames fade from.
    before: Vec<u8>,
    done: bool,
}

impl Film {
    pub(super) fn new(model: Rc<Model>, options: GenerateOptions, cancel: CancelFlag) -> Result<Self> {
        let windows = windows(&options, &model.architecture.configs)?;
        model.plan(&options)?;
        let total = windows.last().map_or(0, |w| w.start + w.frames);
        let [first, ..] = windows.as_slice() else {
            return Err(Error::OptionInvalid {
                option: "seconds".into(),
                expected: "a window".into(),
                found: "none".into(),
            });
        };
        let clip = Clip::new(&first.options(&options, total, 0, None), &model.architecture.configs)?;
        let session = Session::new(model.clone(), clip, cancel.clone())?;
        Ok(Self {
            model,
            options,
            windows,
            cancel,
            index: 0,
            session,
            held: Vec::new(),
            before: Vec::new(),
            done: false,
        })
    }

    /// The window in the making: all of the film where it has but one.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// What the window in the making is.
    pub fn clip(&self) -> &Clip {
        self.session.clip()
    }

    /// All windows.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Frames of the whole film.
    pub fn frames(&self) -> usize {
        self.windows.last().map_or(0, |w| w.start + w.frames)
    }

    /// Given frames that are made anew, because they share a latent frame with frames to be made.
    pub fn dropped_frames(&self) -> usize {
        let clip = self.session.clip();
        let [width, height] = [clip.width, clip.height];
        let stride = self.model.architecture.configs.vae.scale_factor_temporal;
        // Checked when the film was laid out.
        let timeline = Timeline::new(&self.options.given, [self.frames(), height, width], stride);
        timeline.ok().flatten().map_or(0, |timeline| timeline.dropped)
    }

    /// As [`Session::encode`].
    ///
    /// # Errors
    /// Its.
    pub async fn encode(&mut self) -> Result<TextEvent> {
        self.session.encode().await
    }

    /// As [`Session::step`].
    ///
    /// # Errors
    /// Its.
    pub async fn step(&mut self) -> Result<Option<StepEvent>> {
        self.session.step().await
    }

    /// The next frames of this window that are done with, counted from the film's beginning; the last ones wait for the window that
    /// shares them.
    ///
    /// # Errors
    /// Those of [`Session::next_frames`].
    pub async fn next_frames(&mut self) -> Result<Option<FramesEvent>> {
        let mut seconds = 0.0;
        while let Some(mut event) = self.session.next_frames().await? {
            seconds += event.seconds;
            let Some(window) = self.windows.get(self.index) else { return Ok(None) };
            let shared_with_next = self.windows.get(self.index + 1).map_or(0, |next| next.overlap);
            let clip = self.session.clip();
            let len = clip.width * clip.height * 4;
            for (frame, rgba) in (event.index..).zip(event.rgba.chunks_exact_mut(len)) {
                if let Some(earlier) = self.before.get(frame * len..(frame + 1) * len) {
                    fade(rgba, earlier, (frame + 1) as f32 / (window.overlap + 1) as f32);
                }
            }
            let free = (window.frames - shared_with_next).saturating_sub(event.index).min(event.count);
            self.held.extend_from_slice(event.rgba.get(free * len..).unwrap_or_default());
            if free > 0 {
                event.rgba.truncate(free * len);
                let index = window.start + event.index;
                return Ok(Some(FramesEvent { index, count: free, rgba: event.rgba, seconds }));
            }
        }
        self.done = true;
        Ok(None)
    }

    /// Goes on to the next window; false after the last. The memory of the window before is free then.
    ///
    /// # Errors
    /// [`Error::WrongState`] before all frames of this window have been taken.
    pub fn next_window(&mut self) -> Result<bool> {
        let Some(window) = self.windows.get(self.index + 1) else { return Ok(false) };
        if !self.done {
            let reason = "take all frames of this window first".into();
            return Err(Error::WrongState { call: "next_window", reason });
        }
        let (width, height) = (self.session.clip().width, self.session.clip().height);
        let footage = Footage::from_rgba(width, height, &self.held);
        let options = window.options(&self.options, self.frames(), self.index + 1, Some(footage));
        let clip = Clip::new(&options, &self.model.architecture.configs)?;
        self.session = Session::new(self.model.clone(), clip, self.cancel.clone())?;
        self.before = std::mem::take(&mut self.held);
        self.index += 1;
        self.done = false;
        Ok(true)
    }
}

/// `share` of `frame`, the rest of `earlier`.
fn fade(frame: &mut [u8], earlier: &[u8], share: f32) {
    for (new, old) in frame.iter_mut().zip(earlier) {
        *new = (f32::from(*old) + (f32::from(*new) - f32::from(*old)) * share).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::architecture::tests::shipped_configs;
    use super::*;
    fn laid(seconds: f64, change: impl FnOnce(&mut GenerateOptions)) -> Result<Vec<(usize, usize, usize)>> {
        let mut options = GenerateOptions { seconds: Some(seconds), ..Default::default() };
        change(&mut options);
        Ok(windows(&options, &shipped_configs())?.iter().map(|w| (w.start, w.frames, w.overlap)).collect())
    }

    #[test]
    fn a_short_film_is_one_window() {
        assert_eq!(laid(1.0, |_| {}).unwrap(), [(0, 13, 0)]);
        assert_eq!(laid(0.01, |_| {}).unwrap(), [(0, 1, 0)]);
        let whole = windows(&GenerateOptions::default(), &shipped_configs()).unwrap();
        assert_eq!(whole.iter().map(|w| (w.start, w.frames, w.overlap)).collect::<Vec<_>>(), [(0, 17, 0)]);
    }

    #[test]
    fn a_minute_is_covered_and_ends_where_it_should() {
        for seconds in [1.5, 2.0, 3.3, 12.0, 60.0] {
            let windows = laid(seconds, |_| {}).unwrap();
            let mut end = 0;
            for (index, (start, frames, overlap)) in windows.iter().enumerate() {
                assert_eq!((*frames, start + overlap), (17, end), "{windows:?}");
                assert_eq!((overlap % 4, *overlap >= 5), if index == 0 { (0, false) } else { (1, true) });
                end = start + frames;
            }
            let asked = (seconds * 12.0_f64).round() as usize;
            assert!(end >= asked && end < asked + 4, "{end} for {asked}");
        }
    }

    #[test]
    fn prompts_hold_from_their_moment_on() {
        let prompt = |at, prompt: &str| TimedPrompt { at, prompt: prompt.into() };
        let options = GenerateOptions {
            prompt: "a".into(),
            seconds: Some(6.0),
            prompts: vec![prompt(4.0, "c"), prompt(2.0, "b")],
            ..Default::default()
        };
        let windows = windows(&options, &shipped_configs()).unwrap();
        let told: String = windows.iter().map(|w| w.prompt.as_str()).collect();
        assert_eq!(told, "aabbcc");
    }

    #[test]
    fn what_is_given_goes_to_its_window() {
        let footage = Footage { width: 64, height: 64, rgb: vec![0; 8 * 64 * 64 * 3].into() };
        let options = GenerateOptions {
            seconds: Some(29.0 / 12.0),
            given: vec![
                Given { at: -1, footage: footage.clone() },
                Given { at: 14, footage: footage.part(0..6) },
            ],
            seed: Some(u64::MAX),
            ..Default::default()
        };
        let windows = windows(&options, &shipped_configs()).unwrap();
        assert_eq!(windows.len(), 2);
        let given = |index: usize, before| {
            let options = windows[index].options(&options, 29, index, before);
            let places: Vec<_> = options.given.iter().map(|g| (g.at, g.footage.frames())).collect();
            (places, options.seed)
        };
        assert_eq!(given(0, None), (vec![(14, 3)], Some(u64::MAX)));
        // Frames 17 to 19, after the five that both windows have; 21 to 28 at the end.
        assert_eq!(given(1, Some(footage.part(0..5))), (vec![(0, 5), (9, 8), (5, 3)], Some(0)));
    }

    #[test]
    fn what_cannot_be_laid_out_is_named() {
        let option = |result: Result<Vec<_>>| match result {
            Err(Error::OptionInvalid { option, .. }) => option,
            other => format!("{other:?}"),
        };
        for seconds in [0.0, -1.0, 61.0, f64::NAN, f64::INFINITY] {
            assert_eq!(option(laid(seconds, |_| {})), "seconds");
        }
        for overlap in [0, 2, 17, 21] {
            assert_eq!(option(laid(9.0, |o| o.overlap = Some(overlap))), "overlap");
        }
        assert!(laid(9.0, |o| o.overlap = Some(9)).is_ok());
        let late = TimedPrompt { at: 9.5, prompt: String::new() };
        assert_eq!(option(laid(9.0, |o| o.prompts = vec![late])), "prompts[0].at");
        assert_eq!(laid(9.0, |o| o.frames = Some(1)).unwrap_err().code(), "option_invalid");
        assert_eq!(laid(9.0, |o| o.frames = Some(16)).unwrap_err().code(), "frames_unsupported");
        assert_eq!(laid(9.0, |o| o.frames = Some(0)).unwrap_err().code(), "frames_unsupported");
    }

    #[test]
    fn shared_frames_fade() {
        let mut frame = [100, 0, 255];
        fade(&mut frame, &[0, 100, 255], 0.25);
        assert_eq!(frame, [25, 75, 255]);
    }
}
