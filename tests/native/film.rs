//! Films longer than the model's own clip: window after window, without a gap, in the memory of one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod models;
mod tiny;

use std::rc::Rc;

use kinetoscope::CancelFlag;
use kinetoscope::pipeline::{Film, Footage, GenerateOptions, Given, Model, TimedPrompt};
use pollster::block_on;
use tiny::models;

const FRAME: usize = 64 * 32 * 4;

/// 21 frames at 8 a second: four windows of 9, each sharing 5 with the one before.
fn options() -> GenerateOptions {
    GenerateOptions {
        prompt: "a red ball".into(),
        width: Some(64),
        height: Some(32),
        frames: Some(9),
        seconds: Some(21.0 / 8.0),
        steps: Some(2),
        guidance: Some(3.0),
        ..GenerateOptions::default()
    }
}

fn film(model: &Rc<Model>, options: &GenerateOptions) -> Film {
    model.film(options, &CancelFlag::new()).unwrap()
}

/// Makes one window, and gives its frames, which have to follow on `made`.
fn window(film: &mut Film, made: &mut Vec<u8>) {
    block_on(film.encode()).unwrap();
    while block_on(film.step()).unwrap().is_some() {}
    while let Some(event) = block_on(film.next_frames()).unwrap() {
        assert_eq!((event.index * FRAME, event.count * FRAME), (made.len(), event.rgba.len()));
        made.extend(event.rgba);
    }
}

fn whole(model: &Rc<Model>, options: &GenerateOptions) -> Vec<u8> {
    let mut film = film(model, options);
    let mut made = Vec::new();
    window(&mut film, &mut made);
    while film.next_window().unwrap() {
        window(&mut film, &mut made);
    }
    assert_eq!(made.len(), film.frames() * FRAME);
    made
}

#[test]
fn frames_come_as_windows_are_done_and_memory_stays_flat() {
    for model in models() {
        let weights = model.executor().allocated_bytes();
        let mut film = film(&model, &options());
        assert_eq!((film.frames(), film.windows().len()), (21, 4));
        assert_eq!(film.next_window().unwrap_err().code(), "wrong_state");
        let mut made = Vec::new();
        let mut held = Vec::new();
        // What can be shown after each window: all but what the next one shares.
        for end in [4, 8, 12, 21] {
            window(&mut film, &mut made);
            assert_eq!(made.len(), end * FRAME);
            held.push(model.executor().allocated_bytes());
            assert_eq!(film.next_window().unwrap(), end < 21);
        }
        // The first window has nothing given, and so a little less to hold.
        assert!(held[0] <= held[1] && held[1..].iter().all(|bytes| *bytes == held[1]), "{held:?}");
        assert!(made == whole(&model, &options()), "another run of the same seed gives other bytes");
        drop(film);
        assert_eq!(model.executor().allocated_bytes(), weights);
    }
}

#[test]
fn one_window_is_what_a_session_makes() {
    for model in models() {
        let options = GenerateOptions { seconds: None, ..options() };
        let mut session = model.session(&options, &CancelFlag::new()).unwrap();
        block_on(session.encode()).unwrap();
        while block_on(session.step()).unwrap().is_some() {}
        let mut expected = Vec::new();
        while let Some(event) = block_on(session.next_frames()).unwrap() {
            expected.extend(event.rgba);
        }
        assert!(whole(&model, &options) == expected);
        let exact = GenerateOptions { seconds: Some(9.0 / 8.0), ..options };
        assert!(whole(&model, &exact) == expected);
    }
}

#[test]
fn a_later_prompt_changes_what_is_later() {
    let [model, _] = models();
    let prompts = vec![TimedPrompt { at: 1.6, prompt: "a blue fish".into() }];
    let (plain, told) = (whole(&model, &options()), whole(&model, &GenerateOptions { prompts, ..options() }));
    let differs = plain.chunks(FRAME).zip(told.chunks(FRAME)).position(|(a, b)| a != b).unwrap();
    // The third window is the first whose new frames, 13 to 16, are later than that; those it shares are given to it.
    assert_eq!(differs, 13);
}

#[test]
fn a_given_end_is_the_end() {
    let [model, _] = models();
    let picture = |value| Footage { width: 64, height: 32, rgb: vec![value; 64 * 32 * 3].into() };
    let ending = |value| {
        let given = vec![Given { at: -1, footage: picture(value) }];
        whole(&model, &GenerateOptions { given, ..options() })
    };
    let (dark, light) = (ending(0), ending(255));
    assert!(dark[..12 * FRAME] == light[..12 * FRAME], "only the last window knows of the end");
    assert!(dark[20 * FRAME..] != light[20 * FRAME..]);
}

#[test]
fn a_cancelled_film_keeps_nothing_on_the_device() {
    for model in models() {
        let weights = model.executor().allocated_bytes();
        let cancel = CancelFlag::new();
        let mut film = model.film(&options(), &cancel).unwrap();
        let mut made = Vec::new();
        window(&mut film, &mut made);
        assert!(film.next_window().unwrap());
        block_on(film.encode()).unwrap();
        cancel.cancel();
        assert_eq!(block_on(film.step()).unwrap_err().code(), "cancelled");
        drop(film);
        assert_eq!(model.executor().allocated_bytes(), weights);
    }
}

#[test]
fn what_cannot_be_made_is_named() {
    let [model, _] = models();
    let refused = |change: fn(&mut GenerateOptions)| {
        let mut options = options();
        change(&mut options);
        let planned = model.plan(&options).unwrap_err();
        assert_eq!(model.film(&options, &CancelFlag::new()).err(), Some(planned.clone()));
        planned.to_string()
    };
    assert!(refused(|o| o.seconds = Some(61.0)).contains("at most 60"));
    assert!(refused(|o| o.seconds = Some(f64::NAN)).contains("seconds"));
    assert!(refused(|o| o.overlap = Some(4)).contains("overlap"));
    assert!(refused(|o| o.overlap = Some(9)).contains("below the 9 frames"));
    assert!(
        refused(|o| o.prompts = vec![TimedPrompt { at: 2.7, prompt: "late".into() }])
            .contains("prompts[0].at")
    );
}
