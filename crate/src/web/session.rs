//! One clip in the making.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::options::count;
use super::{JsResult, float_array, to_js};
use crate::Error;
use crate::pipeline::{Film, FramesEvent, Preview, StepEvent};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The prompt has been encoded. */
export interface TextEvent {
  /** Tokens in use, the end of the sequence included. */
  tokens: number;
  /** Whether the prompt was cut. */
  truncated: boolean;
  /** Tokens left out. */
  dropped: number;
  seconds: number;
}

/** One denoising step has been made. */
export interface StepEvent {
  /** From 0. */
  index: number;
  steps: number;
  /** Noise share before the step. */
  sigma: number;
  /** What the transformer was given. */
  timestep: number;
  /** Whether the step went without a pass through the transformer (`stepCache`). */
  cached: boolean;
  seconds: number;
  /** Where the clip is going, where it was asked for and the model knows how. */
  preview?: Preview;
}

/** A small picture of each latent frame. */
export interface Preview {
  width: number;
  height: number;
  frames: number;
  /** `frames * height * width * 4` bytes. */
  rgba: Uint8Array<ArrayBuffer>;
}

/** Some frames have been decoded: one latent frame's worth. */
export interface FramesEvent {
  /** Place of the first of them in the clip, from 0. */
  index: number;
  count: number;
  /** `count * height * width * 4` bytes. */
  rgba: Uint8Array<ArrayBuffer>;
  seconds: number;
}
"#;

/// A clip in the making: `encode()`, then `step()` and `nextFrames()` until each gives undefined; where it has several windows, the same
/// for each of them, with `nextWindow()` in between. Every method rejects with `wrong_state` while another one runs.
#[wasm_bindgen]
pub struct Session {
    /// Empty while a call runs: no borrow is held across an await.
    film: Rc<RefCell<Option<Film>>>,
    /// Width and height in pixels, frames, steps of a window, given frames that are made anew, windows.
    size: [usize; 6],
}

impl From<Film> for Session {
    fn from(film: Film) -> Self {
        let clip = film.clip();
        let [steps, dropped] = [clip.schedule.steps.len(), film.dropped_frames()];
        let size = [clip.width, clip.height, film.frames(), steps, dropped, film.windows().len()];
        Self { film: Rc::new(RefCell::new(Some(film))), size }
    }
}

impl Session {
    /// Runs `work` on the session, which is taken out meanwhile and put back whatever happens.
    fn run(&self, call: &'static str, work: impl AsyncFnOnce(&mut Film) -> JsResult + 'static) -> Promise {
        let place = self.film.clone();
        // Taken at the call, not when the promise is first polled: calls then run in the order they are made.
        let taken = place.take();
        future_to_promise(async move {
            let Some(mut film) = taken else {
                let reason = "another call of this session is running; await it first".into();
                return Err(Error::WrongState { call, reason }.into());
            };
            let result = work(&mut film).await;
            place.replace(Some(film));
            result
        })
    }
}

#[wasm_bindgen]
impl Session {
    /// Pixels.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.size[0]
    }

    /// Pixels.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.size[1]
    }

    /// Frames of the clip.
    #[wasm_bindgen(getter)]
    pub fn frames(&self) -> usize {
        self.size[2]
    }

    /// Denoising steps, of each window.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> usize {
        self.size[3]
    }

    /// Given frames that are made anew, because they share a latent frame with frames to be made.
    #[wasm_bindgen(getter, js_name = droppedFrames)]
    pub fn dropped_frames(&self) -> usize {
        self.size[4]
    }

    /// Stretches that are made one after the other; usually one.
    #[wasm_bindgen(getter)]
    pub fn windows(&self) -> usize {
        self.size[5]
    }

    /// Encodes the prompt, with guidance the negative one too, and what the clip is made from, and draws the noise.
    #[wasm_bindgen(unchecked_return_type = "Promise<TextEvent>")]
    pub fn encode(&self) -> Promise {
        self.run("encode", async |film| to_js(&film.encode().await?))
    }

    /// Makes one denoising step; undefined after the last.
    #[wasm_bindgen(unchecked_return_type = "Promise<StepEvent | undefined>")]
    pub fn step(&self) -> Promise {
        self.run("step", async |film| match film.step().await? {
            Some(event) => step_to_js(&event),
            None => Ok(JsValue::UNDEFINED),
        })
    }

    /// Decodes one latent frame into its frames; undefined after the last of the window. The last ones of a window may come with the next.
    #[wasm_bindgen(js_name = nextFrames, unchecked_return_type = "Promise<FramesEvent | undefined>")]
    pub fn next_frames(&self) -> Promise {
        self.run("nextFrames", async |film| match film.next_frames().await? {
            Some(event) => frames_to_js(&event),
            None => Ok(JsValue::UNDEFINED),
        })
    }

    /// Goes on to the next window; false after the last.
    #[wasm_bindgen(js_name = nextWindow, unchecked_return_type = "Promise<boolean>")]
    pub fn next_window(&self) -> Promise {
        self.run("nextWindow", async |film| Ok(film.next_window()?.into()))
    }

    /// The latents `[C, T, H, W]` of the window: noise first, the clip's after the last step.
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn latents(&self) -> Promise {
        self.run("latents", async |film| Ok(float_array(&film.session().latents().await?)))
    }

    /// The prompt as the transformer sees it, `[maxTokens, textDim]`; from the encoding to the last step.
    #[wasm_bindgen(js_name = promptEmbeds, unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn prompt_embeds(&self) -> Promise {
        self.run("promptEmbeds", async |film| Ok(float_array(&film.session().prompt_embeds().await?)))
    }

    /// The first `frames` frames of the last `nextFrames()`, `[H, W, 3]` each in 0..1, before rounding to bytes.
    #[wasm_bindgen(js_name = frameValues, unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn frame_values(&self, frames: f64) -> Promise {
        self.run("frameValues", async move |film| {
            Ok(float_array(&film.session().frame_values(count("count", frames)?).await?))
        })
    }
}

fn step_to_js(event: &StepEvent) -> JsResult {
    let object = to_js(event)?;
    if let Some(Preview { width, height, frames, rgba }) = &event.preview {
        let preview = to_js(&serde_json::json!({ "width": width, "height": height, "frames": frames }))?;
        Reflect::set(&preview, &"rgba".into(), &Uint8Array::from(rgba.as_slice()))?;
        Reflect::set(&object, &"preview".into(), &preview)?;
    }
    Ok(object)
}

fn frames_to_js(event: &FramesEvent) -> JsResult {
    let FramesEvent { index, count, rgba, seconds } = event;
    let object = to_js(&serde_json::json!({ "index": index, "count": count, "seconds": seconds }))?;
    Reflect::set(&object, &"rgba".into(), &Uint8Array::from(rgba.as_slice()))?;
    Ok(object)
}
