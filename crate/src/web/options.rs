//! What JavaScript asks for, read and checked: a wrong type is an `option_invalid` that names the option.

use js_sys::Reflect;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use super::errors::describe;
use crate::config::Solver;
use crate::pipeline::GenerateOptions;
use crate::{Error, Result};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What to make. Everything but the prompt has the model's default. */
export interface GenerateOptions {
  prompt: string;
  /** What the clip must not show; used when guidance is above 1. */
  negative?: string | undefined;
  /** Pixels; a multiple of the model's `sizeMultiple`. */
  width?: number | undefined;
  height?: number | undefined;
  /** `frameStride * n + 1`. */
  frames?: number | undefined;
  /** Denoising steps. */
  steps?: number | undefined;
  /** Classifier-free guidance scale; up to 1 is none. */
  guidance?: number | undefined;
  /** Timestep shift. */
  shift?: number | undefined;
  solver?: "unipc" | "euler" | undefined;
  /** Seed of the noise, which is torch's for that seed; 0 by default. */
  seed?: number | bigint | undefined;
  /** Tokens that the prompt is cut and padded to. */
  maxTokens?: number | undefined;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// A JavaScript object of options.
    #[wasm_bindgen(typescript_type = "GenerateOptions")]
    pub type JsGenerateOptions;
}

const COUNT: &str = "a whole number";

/// Reads and checks the types; the ranges are the pipeline's to check.
pub(super) fn generate_options(options: &JsGenerateOptions) -> Result<GenerateOptions> {
    let count = |name| option::<usize>(options, name, COUNT);
    let number = |name| option::<f64>(options, name, "a number");
    let text = |name| option::<String>(options, name, "text");
    let solver = match option::<String>(options, "solver", SOLVERS)?.as_deref() {
        None => None,
        Some("unipc") => Some(Solver::UniPc),
        Some("euler") => Some(Solver::Euler),
        Some(other) => return Err(invalid("solver", SOLVERS, &other.into())),
    };
    Ok(GenerateOptions {
        prompt: text("prompt")?.ok_or_else(|| invalid("prompt", "text", &JsValue::UNDEFINED))?,
        negative: text("negative")?,
        width: count("width")?,
        height: count("height")?,
        frames: count("frames")?,
        steps: count("steps")?,
        guidance: number("guidance")?,
        shift: number("shift")?,
        solver,
        max_tokens: count("maxTokens")?,
        seed: option(options, "seed", "a whole number from 0 to 2^53 - 1, or a bigint to 2^64 - 1")?,
    })
}

const SOLVERS: &str = "\"unipc\" or \"euler\"";

/// A count that is an argument of its own.
pub(super) fn count(name: &str, value: f64) -> Result<usize> {
    parse(name, COUNT, &value.into())
}

/// An option's value; `None` where it is undefined or null.
fn option<T: DeserializeOwned>(options: &JsValue, name: &str, expected: &str) -> Result<Option<T>> {
    // Reflect.get throws for what is no object.
    let value = Reflect::get(options, &name.into()).map_err(|_| invalid("options", "an object", options))?;
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    parse(name, expected, &value).map(Some)
}

fn parse<T: DeserializeOwned>(name: &str, expected: &str, value: &JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value.clone()).map_err(|_| invalid(name, expected, value))
}

/// An argument or option that is not what was expected.
pub(super) fn invalid(name: &str, expected: &str, found: &JsValue) -> Error {
    Error::OptionInvalid { option: name.into(), expected: expected.into(), found: describe(found) }
}
