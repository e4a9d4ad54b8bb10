//! Opening a device, and loading a model onto it.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::options::{JsGenerateOptions, generate_options, invalid};
use super::source::JsSource;
use super::{CancelFlag, JsResult, Model, WasmSource, to_js};
use crate::executor::{DeviceChoice, Executor, ExecutorInfo};
use crate::gpu::{GpuOptions, Precision};
use crate::pipeline::{Advice, Architecture};
use crate::{Result, pipeline};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What the work runs on. */
export interface EngineInfo {
  device: "webgpu" | "cpu";
  /** Name of the adapter, in the browser's words; may be empty. */
  adapter: string;
  /** Whether the adapter is a software one, which is far slower than the CPU. */
  software: boolean;
  /** Whether its kernels swap values among neighbouring invocations, which needs subgroups. */
  quads: boolean;
  /** The least that linear layers or convolutions are multiplied in. */
  precision: Precision;
  /** Largest storage buffer binding, in bytes. */
  maxBinding: number;
  /** Largest buffer, in bytes. */
  maxBuffer: number;
  /** Why `auto` did not take WebGPU. */
  fallbackReason?: string;
}

/** What linear layers and convolutions may be multiplied in; each allows what is before it. */
export type Precision = "f32" | "f16" | "i8";

/** What suits a device, found by trying it once. */
export interface Tuning {
  /** Of which adapter and shaders it is true. */
  key: string;
  tiles: { wide: boolean; few: number; halves: boolean; bytes: boolean };
  maxDispatchFlops: number;
  winogradChannels: number;
}

/** Whether a clip can be made, known before any weights are read. */
export type Advice = {
  /** Bytes of weights to be read, by component. */
  download: Record<string, number>;
  /**
   * The nearest that fit where the clip does not; where it does, but only with the transformer's weights read again at every step, the
   * weights with which they would stay.
   */
  alternatives: Alternative[];
} & (
  | {
      /** What the clip takes. */
      plan: ClipPlan;
      obstacle?: undefined;
    }
  | {
      plan?: undefined;
      /** What the device has too little of. */
      obstacle: { what: string; needed: number; allowed: number };
    }
);

/** A clip that can be made instead, or the clip itself with other weights. */
export interface Alternative {
  /** What is other than asked for: one thing, or all that it takes together. */
  changes: ("fewerFrames" | "smaller" | "tinyDecoder" | "fourBitTransformer" | "fourBitTextEncoder")[];
  /** What to do for it, in words: the length, the size, or which file to give and how to make it. */
  remedy: string;
  /** Pixels. */
  width: number;
  height: number;
  /** Of a window where the clip has several. */
  frames: number;
  /** Bytes at the worst moment. */
  peakBytes: number;
}

/** Bytes of the weights read so far. */
export interface LoadProgress {
  /** Part of the pipeline whose bytes came last, such as `transformer`. */
  component: string;
  loaded: number;
  total: number;
}
"#;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct EngineInfo {
    device: &'static str,
    adapter: String,
    software: bool,
    quads: bool,
    precision: Precision,
    max_binding: u64,
    max_buffer: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_reason: Option<String>,
}

/// An open device: WebGPU or the CPU.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    pub(super) executor: Rc<Executor>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device; `auto` is WebGPU, or the CPU where there is no adapter. `memory` are the bytes of it that may be taken; without it all
    /// weights of a model stay there. `tunings` are what {@link Engine.tuning} gave before, of any devices; what is no such thing is left
    /// out of account. `precision` is what linear layers and convolutions may be multiplied in where the device is faster so.
    /// Rejects with `device_unavailable`, or with `option_invalid` for another choice.
    pub async fn create(
        #[wasm_bindgen(unchecked_param_type = "\"auto\" | \"webgpu\" | \"cpu\"")] device: JsValue,
        memory: Option<f64>,
        #[wasm_bindgen(unchecked_optional_param_type = "Tuning[]")] tunings: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "Precision")] precision: JsValue,
    ) -> Result<Engine> {
        let choice: DeviceChoice = match device.as_string() {
            Some(choice) => choice.parse()?,
            None => return Err(invalid("device", "\"auto\", \"webgpu\" or \"cpu\"", &device)),
        };
        let max_memory = match memory {
            // Not a `usize`, which ends below 4 GiB here.
            Some(bytes) if !(0.0..=js_sys::Number::MAX_SAFE_INTEGER).contains(&bytes) => {
                return Err(invalid("memory", "a number of bytes", &bytes.into()));
            }
            bytes => bytes.map(|bytes| bytes as u64),
        };
        let precision = match precision.as_string() {
            None if precision.is_undefined() => Precision::default(),
            Some(name) => name.parse()?,
            None => return Err(invalid("precision", "\"f32\", \"f16\" or \"i8\"", &precision)),
        };
        let tunings = serde_wasm_bindgen::from_value(tunings).unwrap_or_default();
        let options = GpuOptions { max_memory, precision, tunings, ..GpuOptions::default() };
        let executor = Rc::new(Executor::open(choice, &options).await?);
        Ok(Self { executor })
    }

    /// What was opened.
    #[wasm_bindgen(unchecked_return_type = "EngineInfo")]
    pub fn info(&self) -> JsResult {
        let ExecutorInfo { device, name, software, reason } = self.executor.info();
        // Without a GPU the limit is Rust's own on a single allocation.
        let limits = self.executor.limits();
        let limit = |of: fn(&crate::gpu::Limits) -> u64| limits.map_or(isize::MAX as u64, of);
        to_js(&EngineInfo {
            device,
            adapter: name,
            software,
            quads: limits.is_some_and(|limits| limits.quads),
            precision: limits.map_or(Precision::F32, |limits| limits.tiles.precision()),
            max_binding: limit(|limits| limits.max_binding),
            max_buffer: limit(|limits| limits.max_buffer),
            fallback_reason: reason,
        })
    }

    /// What was found out about the device by trying, to be remembered for the next time; nothing where nothing was tried.
    #[wasm_bindgen(unchecked_return_type = "Tuning | undefined")]
    pub fn tuning(&self) -> JsResult {
        self.executor.tuning().map_or(Ok(JsValue::UNDEFINED), to_js)
    }

    /// Bytes on the device now: weights, the clips in the making, their intermediate results.
    #[wasm_bindgen(js_name = allocatedBytes)]
    pub fn allocated_bytes(&self) -> f64 {
        self.executor.allocated_bytes() as f64
    }

    /// What a clip of a model would take of this device, from the headers of its files alone. Rejects as `load` does, and with `option_invalid`;
    /// that the clip does not fit is part of the answer.
    #[wasm_bindgen(unchecked_return_type = "Promise<Advice>")]
    pub fn plan(&self, source: WasmSource, options: &JsGenerateOptions) -> Promise {
        let (executor, options) = (self.executor.clone(), generate_options(options));
        future_to_promise(async move {
            let architecture = Architecture::open(&JsSource::new(source)).await?;
            let advice = Advice::new(&architecture, &options?, executor.limits(), executor.capacity())?;
            to_js(&advice)
        })
    }

    /// Loads a diffusers folder. Rejects with the file or tensor that is missing, damaged or not supported, with
    /// `cancelled`, with what the device reports, or with what `onProgress` throws; nothing is left on the device then.
    #[wasm_bindgen(unchecked_return_type = "Promise<Model>")]
    pub fn load(
        &self,
        source: WasmSource,
        #[wasm_bindgen(
            js_name = onProgress,
            unchecked_param_type = "(progress: LoadProgress) => void"
        )]
        on_progress: Function,
        cancel: &CancelFlag,
    ) -> Promise {
        let (executor, cancel) = (self.executor.clone(), cancel.flag.clone());
        future_to_promise(async move {
            let thrown = RefCell::new(None);
            let mut report = |progress| {
                let called = to_js(&progress).and_then(|p| on_progress.call1(&JsValue::UNDEFINED, &p));
                if let Err(error) = called {
                    thrown.replace(Some(error));
                    // Rather than reading gigabytes for a load that is going to reject.
                    cancel.cancel();
                }
            };
            let source = Rc::new(JsSource::new(source));
            let loaded = pipeline::Model::load(source, executor, &cancel, &mut report).await;
            match thrown.take() {
                Some(error) => Err(error),
                None => Ok(Model::from(loaded?).into()),
            }
        })
    }
}
