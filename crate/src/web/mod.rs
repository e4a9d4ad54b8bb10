//! The JavaScript interface: thin bindings over [`crate::pipeline`].
//!
//! | module | what it is |
//! |---|---|
//! | `engine` | opening a device, loading a model onto it |
//! | `model` | a loaded model |
//! | `session` | one clip in the making |
//! | `operation` | one operation alone, for comparing |
//! | `options` | what JavaScript asks for, read and checked |
//! | `source` | model files that JavaScript brings |
//! | `bench` | how fast a device is, with the feature of that name |
//! | `cancel` | the flag that JavaScript raises |
//! | `errors` | errors to JavaScript and back |
//!
//! Calls that take time give a promise and borrow nothing meanwhile: every other call, `cancel()` and `free()` too, is
//! allowed while one runs.

#[cfg(feature = "bench")]
mod bench;
mod cancel;
mod engine;
mod errors;
mod model;
#[cfg(feature = "bench")]
mod operation;
mod options;
mod session;
mod source;

#[cfg(feature = "bench")]
pub use bench::Bench;
pub use cancel::CancelFlag;
pub use engine::Engine;
pub use model::Model;
#[cfg(feature = "bench")]
pub use operation::Operation;
pub use options::JsGenerateOptions;
pub use session::Session;
pub use source::WasmSource;

use js_sys::{Float32Array, JSON};
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// What JavaScript gets, or what it is thrown.
type JsResult<T = JsValue> = std::result::Result<T, JsValue>;

/// Panics are faults of this library; the console then says where.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// A plain object of `value`'s facts. By way of JSON, so that a count beyond 2^53 becomes the nearest number, where
/// serde-wasm-bindgen has an error or a bigint.
fn to_js(value: &impl Serialize) -> JsResult {
    let json = serde_json::to_string(value).map_err(|error| js_sys::Error::new(&error.to_string()))?;
    JSON::parse(&json)
}

fn float_array(values: &[f32]) -> JsValue {
    Float32Array::from(values).into()
}
