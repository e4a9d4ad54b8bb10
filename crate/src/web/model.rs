//! A loaded model.

use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::options::{JsGenerateOptions, count, generate_options};
use super::{CancelFlag, JsResult, Session, float_array, to_js};
use crate::{Result, pipeline};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A loaded model: its defaults, and what it can make. */
export interface ModelInfo {
  /** Empty where the folder states none. */
  name: string;
  /** Pixels. */
  width: number;
  height: number;
  frames: number;
  /** Frames a second. */
  fps: number;
  /** Denoising steps. */
  steps: number;
  /** Guidance scale. */
  guidance: number;
  /** Timestep shift. */
  shift: number;
  solver: "unipc" | "euler" | "dmd";
  /** Tokens that prompts are cut and padded to. */
  maxTokens: number;
  /** Negative prompt. */
  negative: string;
  /** Width and height are multiples of this. */
  sizeMultiple: number;
  /** A clip has `frameStride * n + 1` frames. */
  frameStride: number;
  /** Bytes of the weights on the device. */
  weightBytes: number;
  /** Whether steps can come with a small picture. */
  preview: boolean;
}

/** What one stage of a clip takes. */
export interface StagePlan {
  stage: "encode" | "text" | "context" | "step" | "decode";
  /** All of the model's weights, those of this stage alone, or a part of them at a time. */
  weights: "together" | "turn" | "parts";
  /** Bytes of weights on the device. */
  weightBytes: number;
  /** Bytes of the intermediate results. */
  temporaryBytes: number;
  /** Bytes of all that exists while the stage runs. */
  totalBytes: number;
  /** Of the GPU; 0 on the CPU, as is the largest buffer. */
  largestBinding: number;
  largestBuffer: number;
  /** Multiply-adds of one run, times two. */
  flops: number;
}

/** What a clip takes of the device. */
export interface ClipPlan {
  /** Pixels. */
  width: number;
  height: number;
  /** Frames of the whole clip. */
  frames: number;
  /** Stretches that are made one after the other; what follows is what the most demanding of them takes. */
  windows: number;
  weightBytes: number;
  /** Bytes at the worst moment. */
  peakBytes: number;
  /** Largest storage binding of any stage; 0 on the CPU. */
  largestBinding: number;
  stages: StagePlan[];
}
"#;

/// A model whose weights are on the device.
#[wasm_bindgen]
pub struct Model {
    model: Rc<pipeline::Model>,
}

impl From<pipeline::Model> for Model {
    fn from(model: pipeline::Model) -> Self {
        Self { model: Rc::new(model) }
    }
}

#[wasm_bindgen]
impl Model {
    /// What the model is, and its defaults.
    #[wasm_bindgen(unchecked_return_type = "ModelInfo")]
    pub fn info(&self) -> JsResult {
        let mut info = self.model.info();
        info.name.get_or_insert_default();
        to_js(&info)
    }

    /// What a clip would take of the device, with nothing run. Throws as `session` does.
    #[wasm_bindgen(unchecked_return_type = "ClipPlan")]
    pub fn plan(&self, options: &JsGenerateOptions) -> JsResult {
        to_js(&self.model.plan(&generate_options(options)?)?)
    }

    /// Begins a clip; nothing runs yet. Throws `size_unsupported`, `frames_unsupported`, `option_invalid` and
    /// `device_too_small`.
    pub fn session(&self, options: &JsGenerateOptions, cancel: &CancelFlag) -> Result<Session> {
        Ok(self.model.film(&generate_options(options)?, &cancel.flag)?.into())
    }

    /// RGB frames `[frames, height, width, 3]` in -1..1 to latents `[C, T, H, W]` as the transformer sees them.
    #[wasm_bindgen(js_name = encodeVideo, unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn encode_video(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Float32Array")] rgb: Vec<f32>,
        frames: f64,
        height: f64,
        width: f64,
        cancel: &CancelFlag,
    ) -> Promise {
        let (model, cancel) = (self.model.clone(), cancel.flag.clone());
        future_to_promise(async move {
            let size = [count("frames", frames)?, count("height", height)?, count("width", width)?];
            Ok(float_array(&model.encode_video(&rgb, size, &cancel).await?))
        })
    }
}
