//! One operation alone, on what JavaScript brings: for comparing with other runtimes on the same numbers.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Promise;
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::options::{count, invalid, parse};
use super::{Engine, JsResult, float_array};
use crate::executor::{Executor, Program};
use crate::ops::{Activation, Combine, ConvOptions, ConvWeight, LinearWeight};
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::weights::blocks::Block;
use crate::{CancelFlag, Error, Result};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Sizes of `x [m, k]` times `w [k, n]`. */
export interface LinearShape {
  m: number;
  k: number;
  n: number;
}

/** Sizes of attention without a mask. */
export interface AttentionShape {
  heads: number;
  queries: number;
  keys: number;
  headDim: number;
}

/** Sizes of a convolution that gives one frame, of the size of those it takes. */
export interface ConvShape {
  frames: number;
  /** Height and width of the kernel, odd. */
  kernel: number;
  height: number;
  width: number;
  channelsIn: number;
  channelsOut: number;
}
"#;

#[derive(Deserialize)]
struct LinearShape {
    m: usize,
    k: usize,
    n: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttentionShape {
    heads: usize,
    queries: usize,
    keys: usize,
    head_dim: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConvShape {
    frames: usize,
    kernel: usize,
    height: usize,
    width: usize,
    channels_in: usize,
    channels_out: usize,
}

const SIZES: &str = "sizes by name, whole numbers";

/// An operation whose inputs are on the device.
#[wasm_bindgen]
pub struct Operation {
    work: Rc<Work>,
}

/// Records the operation on its inputs, and gives its output.
type Record = dyn Fn(&mut Recorder, &[Tensor]) -> Result<Tensor>;

struct Work {
    executor: Rc<Executor>,
    /// Repetitions take turns between them, as layers of a model have weights of their own.
    sets: [Vec<Tensor>; 2],
    output: Tensor,
    record: Box<Record>,
    /// So many repetitions in one program, and the program.
    program: RefCell<Option<(usize, Rc<Program>)>>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.sets.iter().flatten().chain([&self.output]).for_each(|tensor| self.executor.release(tensor));
    }
}

#[wasm_bindgen]
impl Operation {
    /// `x [m, k]` times a weight: `w [k, n]` as floats with format `f32` (n a multiple of 4), else the `[n, k]` of torch in ggml's blocks,
    /// `q8_0` or `q4_0`.
    pub fn linear(
        engine: &Engine,
        #[wasm_bindgen(unchecked_param_type = "LinearShape")] shape: &JsValue,
        x: &[f32],
        #[wasm_bindgen(unchecked_param_type = "\"f32\" | \"q8_0\" | \"q4_0\"")] format: &str,
        weight: &[u8],
    ) -> Result<Operation> {
        let LinearShape { m, k, n } = parse("shape", SIZES, shape)?;
        let (dtype, weight) = match format {
            "f32" => (DType::F32, weight.to_vec()),
            "q8_0" => (DType::Quants(Block::Q8_0.on_device()), Block::Q8_0.to_device(weight)),
            "q4_0" => (DType::Quants(Block::Q4_0.on_device()), Block::Q4_0.to_device(weight)),
            _ => return Err(invalid("format", "\"f32\", \"q8_0\" or \"q4_0\"", &format.into())),
        };
        let x_tensor = Tensor::resident(DType::F32, &[m, k]);
        let matrix = Tensor::resident(dtype, &LinearWeight::shape(dtype, k, n));
        let inputs = vec![(x_tensor, bytemuck::cast_slice(x).to_vec()), (matrix, weight)];
        Self::new(engine, inputs, move |rec, inputs| {
            let [x, matrix] = inputs else { return Err(missing()) };
            let weight = LinearWeight { matrix: matrix.clone(), columns: n };
            rec.linear(x, &weight, None, Activation::None, Combine::None)
        })
    }

    /// Attention of q `[heads, queries, headDim]`, k and v `[heads, keys, headDim]`, scaled by the root of headDim, to
    /// `[queries, heads * headDim]`.
    pub fn attention(
        engine: &Engine,
        #[wasm_bindgen(unchecked_param_type = "AttentionShape")] shape: &JsValue,
        q: &[f32],
        k: &[f32],
        v: &[f32],
    ) -> Result<Operation> {
        let AttentionShape { heads, queries, keys, head_dim: d } = parse("shape", SIZES, shape)?;
        let tensors = [queries, keys, keys].map(|tokens| Tensor::resident(DType::F32, &[heads, tokens, d]));
        let bytes = [q, k, v].map(|values| bytemuck::cast_slice(values).to_vec());
        let inputs = tensors.into_iter().zip(bytes).collect();
        let scale = 1.0 / (d as f32).sqrt();
        Self::new(engine, inputs, move |rec, inputs| {
            let [q, k, v] = inputs else { return Err(missing()) };
            rec.attention(q, k, v, scale, None, 0.0)
        })
    }

    /// One frame of a convolution: frames `[frames, height, width, channelsIn]`, weight `[frames, kernel, kernel, channelsIn, channelsOut]`
    /// (channelsOut a multiple of 4), to `[height, width, channelsOut]`; zeros around each frame.
    pub fn conv(
        engine: &Engine,
        #[wasm_bindgen(unchecked_param_type = "ConvShape")] shape: &JsValue,
        x: &[f32],
        weight: &[f32],
    ) -> Result<Operation> {
        let ConvShape { frames, kernel, height, width, channels_in, channels_out } =
            parse("shape", SIZES, shape)?;
        let size = frames.max(1);
        let pieces = x.chunks(x.len().div_ceil(size).max(1));
        let mut inputs: Vec<_> = pieces
            .map(|piece| {
                let frame = Tensor::resident(DType::F32, &[height, width, channels_in]);
                (frame, bytemuck::cast_slice(piece).to_vec())
            })
            .collect();
        let rows = [frames, kernel, kernel, channels_in].iter().product();
        let matrix = Tensor::resident(DType::F32, &LinearWeight::shape(DType::F32, rows, channels_out));
        inputs.push((matrix, bytemuck::cast_slice(weight).to_vec()));
        Self::new(engine, inputs, move |rec, inputs| {
            let [frames_in @ .., matrix] = inputs else { return Err(missing()) };
            let weight = ConvWeight {
                matrix: matrix.clone(),
                channels_in,
                channels_out,
                kernel: [frames, kernel, kernel],
            };
            let frames: Vec<_> = frames_in.iter().map(Some).collect();
            rec.conv(&frames, &weight, None, ConvOptions::same(kernel), None)
        })
    }

    /// Runs it so many times, one after the other, and waits for the device.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn run(&self, times: f64) -> Promise {
        let work = self.work.clone();
        future_to_promise(async move {
            let program = work.program(count("times", times)?)?;
            work.executor.run(&program, &CancelFlag::new()).await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Runs it once and gives what comes out.
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array<ArrayBuffer>>")]
    pub fn output(&self) -> Promise {
        let work = self.work.clone();
        future_to_promise(async move {
            let mut rec = Recorder::new();
            let result = (work.record)(&mut rec, &work.sets[0])?;
            rec.copy(&result, &work.output)?;
            let program = work.executor.prepare(&rec.finish())?;
            work.executor.run(&program, &CancelFlag::new()).await?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&work.executor.read(&work.output).await?);
            JsResult::Ok(float_array(&values))
        })
    }
}

impl Operation {
    fn new(
        engine: &Engine,
        inputs: Vec<(Tensor, Vec<u8>)>,
        record: impl Fn(&mut Recorder, &[Tensor]) -> Result<Tensor> + 'static,
    ) -> Result<Self> {
        let set =
            || inputs.iter().map(|(tensor, _)| Tensor::resident(tensor.dtype(), tensor.shape())).collect();
        let sets: [Vec<Tensor>; 2] = [set(), set()];
        // Whether the shapes fit, before anything is on the device.
        let output = Tensor::resident(DType::F32, record(&mut Recorder::new(), &sets[0])?.shape());
        let executor = engine.executor.clone();
        let work = Work { executor, sets, output, record: Box::new(record), program: RefCell::new(None) };
        for (tensor, (_, bytes)) in work.sets.iter().flat_map(|set| set.iter().zip(&inputs)) {
            work.executor.upload(tensor, bytes)?;
        }
        Ok(Self { work: Rc::new(work) })
    }
}

fn missing() -> Error {
    Error::WrongState { call: "operation", reason: "inputs are missing".into() }
}

impl Work {
    /// The program of so many repetitions; the last one is kept.
    fn program(&self, times: usize) -> Result<Rc<Program>> {
        let mut kept = self.program.borrow_mut();
        if let Some((of, program)) = kept.as_ref()
            && *of == times
        {
            return Ok(program.clone());
        }
        let mut rec = Recorder::new();
        self.sets.iter().cycle().take(times).try_for_each(|set| (self.record)(&mut rec, set).map(drop))?;
        let program = Rc::new(self.executor.prepare(&rec.finish())?);
        *kept = Some((times, program.clone()));
        Ok(program)
    }
}
