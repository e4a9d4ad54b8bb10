//! One clip in the making.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::options::count;
use super::{JsResult, float_array, to_js};
use crate::Error;
use crate::pipeline::{self, FramesEvent};

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
  seconds: number;
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

/// A clip in the making: `encode()`, then `step()` and `nextFrames()` until each gives undefined. Every method rejects with
/// `wrong_state` while another one runs.
#[wasm_bindgen]
pub struct Session {
    /// Empty while a call runs: no borrow is held across an await.
    session: Rc<RefCell<Option<pipeline::Session>>>,
    /// Width and height in pixels, frames, steps, given frames that are made anew.
    size: [usize; 5],
}

impl From<pipeline::Session> for Session {
    fn from(session: pipeline::Session) -> Self {
        let clip = session.clip();
        let dropped = clip.timeline.as_ref().map_or(0, |timeline| timeline.dropped);
        let size = [clip.width, clip.height, clip.frames, clip.schedule.steps.len(), dropped];
        Self { session: Rc::new(RefCell::new(Some(session))), size }
    }
}

impl Session {
    /// Runs `work` on the session, which is taken out meanwhile and put back whatever happens.
    fn run(
        &self,
        call: &'static str,
        work: impl AsyncFnOnce(&mut pipeline::Session) -> JsResult + 'static,
    ) -> Promise {
        let place = self.session.clone();
        // Taken at the call, not when the promise is first polled: calls then run in the order they are made.
        let taken = place.take();
        future_to_promise(async move {
            let Some(mut session) = taken else {
                let reason = "another call of this session is running; await it first".into();
                return Err(Error::WrongState { call, reason }.into());
            };
            let result = work(&mut session).await;
            place.replace(Some(session));
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

    /// Denoising steps.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> usize {
        self.size[3]
    }

    /// Given frames that are made anew, because they share a latent frame with frames to be made.
    #[wasm_bindgen(getter, js_name = droppedFrames)]
    pub fn dropped_frames(&self) -> usize {
        self.size[4]
    }

    /// Encodes the prompt, with guidance the negative one too, and what the clip is made from, and draws the noise.
    #[wasm_bindgen(unchecked_return_type = "Promise<TextEvent>")]
    pub fn encode(&self) -> Promise {
        self.run("encode", async |session| to_js(&session.encode().await?))
    }

    /// Makes one denoising step; undefined after the last.
    #[wasm_bindgen(unchecked_return_type = "Promise<StepEvent | undefined>")]
    pub fn step(&self) -> Promise {
        self.run("step", async |session| match session.step().await? {
            Some(event) => to_js(&event),
            None => Ok(JsValue::UNDEFINED),
        })
    }

    /// Decodes one latent frame into its frames; undefined after the last.
    #[wasm_bindgen(js_name = nextFrames, unchecked_return_type = "Promise<FramesEvent | undefined>")]
    pub fn next_frames(&self) -> Promise {
        self.run("nextFrames", async |session| match session.next_frames().await? {
            Some(event) => frames_to_js(&event),
            None => Ok(JsValue::UNDEFINED),
        })
    }

    /// The latents `[C, T, H, W]`: noise first, the clip's after the last step.
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn latents(&self) -> Promise {
        self.run("latents", async |session| Ok(float_array(&session.latents().await?)))
    }

    /// The prompt as the transformer sees it, `[maxTokens, textDim]`; from the encoding to the last step.
    #[wasm_bindgen(js_name = promptEmbeds, unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn prompt_embeds(&self) -> Promise {
        self.run("promptEmbeds", async |session| Ok(float_array(&session.prompt_embeds().await?)))
    }

    /// The first `frames` frames of the last `nextFrames()`, `[H, W, 3]` each in 0..1, before rounding to bytes.
    #[wasm_bindgen(js_name = frameValues, unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn frame_values(&self, frames: f64) -> Promise {
        self.run("frameValues", async move |session| {
            Ok(float_array(&session.frame_values(count("count", frames)?).await?))
        })
    }
}

fn frames_to_js(event: &FramesEvent) -> JsResult {
    let FramesEvent { index, count, rgba, seconds } = event;
    let object = to_js(&serde_json::json!({ "index": index, "count": count, "seconds": seconds }))?;
    Reflect::set(&object, &"rgba".into(), &Uint8Array::from(rgba.as_slice()))?;
    Ok(object)
}
