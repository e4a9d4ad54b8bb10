//! What JavaScript asks for, read and checked: a wrong type is an `option_invalid` that names the option.

use js_sys::{Array, Reflect, Uint8Array, Uint8ClampedArray};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use super::errors::describe;
use crate::config::Solver;
use crate::pipeline::{Edit, Footage, GenerateOptions, Given, Mask, TimedPrompt};
use crate::{Error, Result};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Pictures of one size, one after the other. */
export interface Footage {
  /** Pixels; of the clip's size. */
  width: number;
  height: number;
  /** `height * width * 4` bytes for each picture; how opaque they are is not looked at. */
  rgba: Uint8Array | Uint8ClampedArray;
}

/** Pictures that the clip is to contain. */
export interface Given extends Footage {
  /** From 0 up, the frame of the clip that the first picture is; below 0, counted from the end, the one that the last picture is. */
  at: number;
}

/** A clip to change by the prompt; at least as long as what is made of it. */
export interface Edit extends Footage {
  /** 0 leaves it as it is, 1 makes it anew. */
  strength: number;
  /** Where it may change; everywhere if left out. */
  mask?: Mask | undefined;
}

/** Where a clip may change: one picture for all frames, or one a frame. */
export interface Mask {
  /** Pixels; of the clip's size. */
  width: number;
  height: number;
  /** `height * width` bytes for each picture: from 128 on the place may change. */
  values: Uint8Array | Uint8ClampedArray;
}

/** What to make. Everything but the prompt has the model's default. */
export interface GenerateOptions {
  prompt: string;
  /** What the clip must not show; used when guidance is above 1. */
  negative?: string | undefined;
  /** Pixels; a multiple of the model's `sizeMultiple`. */
  width?: number | undefined;
  height?: number | undefined;
  /** Width divided by height: a side that is not stated follows from it, in a size that the model can make. */
  aspect?: number | undefined;
  /** `frameStride * n + 1`. */
  frames?: number | undefined;
  /** Denoising steps. */
  steps?: number | undefined;
  /** Classifier-free guidance scale; up to 1 is none. */
  guidance?: number | undefined;
  /** Timestep shift. */
  shift?: number | undefined;
  solver?: "unipc" | "euler" | "dmd" | undefined;
  /** Sigmas to go through instead of `steps` of the solver's own, falling from 1 or less to above 0. */
  sigmas?: number[] | undefined;
  /** The sigmas, lowest and highest, between which there is guidance. */
  guidanceInterval?: [number, number] | undefined;
  /**
   * Steps go without a pass through the transformer while its output is predicted to have changed by less than this share: above 0,
   * to 1. Faster, and not quite the same clip; for models of many steps.
   */
  stepCache?: number | undefined;
  /** Seed of the noise, which is torch's for that seed; 0 by default. */
  seed?: number | bigint | undefined;
  /** Tokens that the prompt is cut and padded to. */
  maxTokens?: number | undefined;
  /** Pictures and clips that the clip is to contain: a first frame, a beginning to go on from, an end, both. */
  given?: Given[] | undefined;
  /** A clip to change, instead of making one from noise alone; not together with `given`. */
  edit?: Edit | undefined;
  /**
   * Length in seconds, up to 60, instead of `frames`: what is longer than `frames` is made in windows of that many, each going on
   * from the end of the one before.
   */
  seconds?: number | undefined;
  /** Frames that two windows share: `frameStride * n + 1`, below `frames`. */
  overlap?: number | undefined;
  /** Prompts that hold from a moment on, `at` seconds from the beginning; `prompt` holds before the first of them. */
  prompts?: TimedPrompt[] | undefined;
  /** Whether each step gives a small picture of where the clip is; for models whose `info.preview` is true. */
  preview?: boolean | undefined;
}

/** A prompt that holds from some moment on. */
export interface TimedPrompt {
  /** Seconds from the beginning. */
  at: number;
  prompt: string;
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
    let solver = match option::<String>(options, "solver", SOLVERS)? {
        None => None,
        Some(name) => {
            let found = Solver::NAMES.iter().find(|(known, _)| *known == name);
            Some(found.ok_or_else(|| invalid("solver", SOLVERS, &name.into()))?.1)
        }
    };
    Ok(GenerateOptions {
        prompt: text("prompt")?.ok_or_else(|| invalid("prompt", "text", &JsValue::UNDEFINED))?,
        negative: text("negative")?,
        width: count("width")?,
        height: count("height")?,
        aspect: number("aspect")?,
        frames: count("frames")?,
        steps: count("steps")?,
        guidance: number("guidance")?,
        shift: number("shift")?,
        solver,
        sigmas: option(options, "sigmas", "an array of numbers")?,
        guidance_interval: option(options, "guidanceInterval", "an array of two numbers")?,
        step_cache: number("stepCache")?,
        max_tokens: count("maxTokens")?,
        seed: option(options, "seed", "a whole number from 0 to 2^53 - 1, or a bigint to 2^64 - 1")?,
        given: given(&get(options, "given")?)?,
        edit: edit(&get(options, "edit")?)?,
        seconds: number("seconds")?,
        overlap: count("overlap")?,
        prompts: prompts(&get(options, "prompts")?)?,
        preview: option(options, "preview", "true or false")?.unwrap_or(false),
    })
}

fn given(list: &JsValue) -> Result<Vec<Given>> {
    items("given", list, |name, item| {
        let at = get(item, "at")?;
        // A frame number is far below where f64 stops counting in ones.
        let whole = at.as_f64().filter(|at| at.fract() == 0.0 && at.abs() < 1e9);
        let whole = whole.ok_or_else(|| invalid(&format!("{name}.at"), COUNT, &at))?;
        Ok(Given { at: whole as isize, footage: footage(name, item)? })
    })
}

fn prompts(list: &JsValue) -> Result<Vec<TimedPrompt>> {
    items("prompts", list, |name, item| {
        let at = parse(&format!("{name}.at"), "a number", &get(item, "at")?)?;
        let prompt = parse(&format!("{name}.prompt"), "text", &get(item, "prompt")?)?;
        Ok(TimedPrompt { at, prompt })
    })
}

/// What `read` makes of each item of an array that may be left out; it is told the item's name.
fn items<T>(name: &str, list: &JsValue, read: impl Fn(&str, &JsValue) -> Result<T>) -> Result<Vec<T>> {
    if is_absent(list) {
        return Ok(Vec::new());
    }
    let Some(list) = list.dyn_ref::<Array>() else { return Err(invalid(name, "an array", list)) };
    list.iter().enumerate().map(|(index, item)| read(&format!("{name}[{index}]"), &item)).collect()
}

fn edit(value: &JsValue) -> Result<Option<Edit>> {
    if is_absent(value) {
        return Ok(None);
    }
    let strength = option(value, "strength", "a number from 0 to 1")?;
    let strength =
        strength.ok_or_else(|| invalid("strength", "a number from 0 to 1", &JsValue::UNDEFINED))?;
    let mask = get(value, "mask")?;
    let mask = match is_absent(&mask) {
        true => None,
        false => {
            let [width, height] = size("mask", &mask)?;
            Some(Mask { width, height, values: bytes("mask.values", &get(&mask, "values")?)?.into() })
        }
    };
    Ok(Some(Edit { footage: footage("edit", value)?, strength, mask }))
}

fn footage(name: &str, value: &JsValue) -> Result<Footage> {
    let [width, height] = size(name, value)?;
    let rgba = bytes(&format!("{name}.rgba"), &get(value, "rgba")?)?;
    Ok(Footage::from_rgba(width, height, &rgba))
}

fn size(name: &str, value: &JsValue) -> Result<[usize; 2]> {
    let side = |side: &str| parse(&format!("{name}.{side}"), COUNT, &get(value, side)?);
    Ok([side("width")?, side("height")?])
}

fn bytes(name: &str, value: &JsValue) -> Result<Vec<u8>> {
    if let Some(found) = value.dyn_ref::<Uint8ClampedArray>() {
        return Ok(found.to_vec());
    }
    let found = value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec);
    found.ok_or_else(|| invalid(name, "a Uint8Array or a Uint8ClampedArray", value))
}

const SOLVERS: &str = "\"unipc\", \"euler\" or \"dmd\"";

/// A count that is an argument of its own.
pub(super) fn count(name: &str, value: f64) -> Result<usize> {
    parse(name, COUNT, &value.into())
}

/// An option's value; `None` where it is undefined or null.
fn option<T: DeserializeOwned>(options: &JsValue, name: &str, expected: &str) -> Result<Option<T>> {
    let value = get(options, name)?;
    if is_absent(&value) {
        return Ok(None);
    }
    parse(name, expected, &value).map(Some)
}

fn get(object: &JsValue, name: &str) -> Result<JsValue> {
    // Reflect.get throws for what is no object.
    Reflect::get(object, &name.into()).map_err(|_| invalid("options", "an object", object))
}

fn is_absent(value: &JsValue) -> bool {
    value.is_undefined() || value.is_null()
}

/// An argument or option by its type.
pub(super) fn parse<T: DeserializeOwned>(name: &str, expected: &str, value: &JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value.clone()).map_err(|_| invalid(name, expected, value))
}

/// An argument or option that is not what was expected.
pub(super) fn invalid(name: &str, expected: &str, found: &JsValue) -> Error {
    Error::OptionInvalid { option: name.into(), expected: expected.into(), found: describe(found) }
}
