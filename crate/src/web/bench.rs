//! Measuring how fast a device is.

use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::options::invalid;
use super::{CancelFlag, JsResult, to_js};
use crate::Result;
use crate::bench;
use crate::executor::DeviceChoice;
use crate::gpu::GpuOptions;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What is true of all cases of a bench. */
export interface BenchHeader {
  /** Of this format. */
  version: 1;
  /** Of the library. */
  kinetoscope: string;
  device: {
    device: "webgpu" | "cpu";
    /** Name of the adapter, in the browser's words; may be empty. */
    name: string;
    backend: string;
    software: boolean;
    features: ("f16" | "subgroups" | "timestamps")[];
    /** By name, in bytes, workgroups, operations or tiles; empty on the CPU. */
    limits: Record<string, number>;
    /** Whether the kernels without workgroup barriers are used. */
    barrierFree: boolean;
  };
  /** Seconds between a submit of next to nothing and the news of its completion. */
  latency: number;
  /** Operations a second in f32, at best. */
  peak: number;
  /** Seconds that a case may take. */
  secondsPerCase: number;
}

export type BenchSuite = "peak" | "gemm" | "attention" | "conv" | "model";

/** A case, before it is run. */
export interface BenchCase {
  /** Unique, such as `gemm/1560x1536x8960/f16`. */
  id: string;
  suite: BenchSuite;
  /**
   * Sizes by name: `m`, `k`, `n`; `heads`, `d`, `queries`, `keys`; `frames`, `kernel`, `channelsIn`, `channelsOut`,
   * `height`, `width`, `upsample`; `width`, `height`, `frames`, `tokens`.
   */
  shape: Record<string, number>;
  /** Of the weights: `f32`, `f16`, `q8_0`, `q4_k`; of a peak `f32`, `f16`, `dot4`; null without weights. */
  format: string | null;
  /** Multiplications and additions of one run; 0 of a peak. */
  flops: number;
  /** Whether it is among the cases of `quick`. */
  quick: boolean;
}

/** What was measured. */
export interface BenchMeasurement {
  /** Of one run: the median of `runs`, each of so many repetitions. */
  seconds: { median: number; min: number; max: number; runs: number; repetitions: number };
  /** 10^9 operations a second, by the median. */
  gflops: number;
  /** The f32 peak in turns with the case, in 10^9 operations a second, the median; of a peak the header's. */
  peak: number;
  /** Of the peak, in percent: the median of the shares of single runs. */
  percentOfPeak: number;
  /** Largest difference, relative to the root of the mean square of 64 elements in f64, or of all by the CPU executor. */
  error: { relative: number; against: "f64" | "cpu" } | null;
  /** Of one run; on the CPU operations. */
  dispatches: number;
  /** Dispatches by kernel: the shader and its flags. */
  kernels: Record<string, number>;
  /** Of a model: where the time goes, the longest first. */
  operations?: {
    by: "timestamps" | "clock";
    times: { name: string; dispatches: number; flops: number; seconds: number; percent: number }[];
  };
}

/** A case that was run, or why it was not. */
export type BenchReport = BenchCase &
  (
    | ({ outcome: "measured" } & BenchMeasurement)
    | { outcome: "skipped"; reason: string }
    | { outcome: "failed"; code: string; reason: string }
  );
"#;

/// An open device and the cases that can be run on it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Bench {
    bench: Rc<bench::Bench>,
}

#[wasm_bindgen]
impl Bench {
    /// Opens a device, and measures what everything else is compared with. Rejects with `device_unavailable`, or with `option_invalid` for
    /// another choice.
    pub async fn open(
        #[wasm_bindgen(unchecked_param_type = "\"webgpu\" | \"cpu\"")] device: JsValue,
        #[wasm_bindgen(js_name = secondsPerCase)] seconds_per_case: f64,
    ) -> Result<Bench> {
        let choice = match device.as_string().as_deref() {
            Some("webgpu") => DeviceChoice::WebGpu,
            Some("cpu") => DeviceChoice::Cpu,
            _ => return Err(invalid("device", "\"webgpu\" or \"cpu\"", &device)),
        };
        if seconds_per_case.is_nan() || seconds_per_case <= 0.0 {
            return Err(invalid("secondsPerCase", "a number above 0", &seconds_per_case.into()));
        }
        let bench =
            bench::Bench::open(choice, GpuOptions::default(), seconds_per_case, &crate::CancelFlag::new())
                .await?;
        Ok(Self { bench: Rc::new(bench) })
    }

    /// What is true of all cases.
    #[wasm_bindgen(unchecked_return_type = "BenchHeader")]
    pub fn header(&self) -> JsResult {
        to_js(&self.bench.header())
    }

    /// The cases of some suites: `peak`, `gemm`, `attention`, `conv`, `model`, `gpu` (all), `quick`. Throws `option_invalid` for another.
    #[wasm_bindgen(unchecked_return_type = "BenchCase[]")]
    pub fn cases(&self, suites: Vec<String>) -> JsResult {
        to_js(&self.bench.select(&suites)?)
    }

    /// Runs a case, as often as one likes. Rejects with `option_invalid` for one that is not listed, with `cancelled` and with `device_lost`;
    /// whatever else goes wrong is in the report.
    #[wasm_bindgen(unchecked_return_type = "Promise<BenchReport>")]
    pub fn run(&self, id: String, cancel: &CancelFlag) -> Promise {
        let (bench, cancel) = (self.bench.clone(), cancel.flag.clone());
        future_to_promise(async move { to_js(&bench.run(&id, &cancel).await?) })
    }
}
