//! Errors to JavaScript, as a plain `Error` with `code` and `details`, and rejections of JavaScript back.

use js_sys::{Object, Reflect};
use wasm_bindgen::prelude::*;

use super::to_js;
use crate::Error;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What everything here throws or rejects with. `message` is for people. */
export interface KinetoscopeFailure extends Error {
  /** Stable name, such as `size_unsupported`. */
  readonly code: string;
  /** The facts behind the message, such as `{ width: 70, multiple: 16, nearestWidth: 64 }`. */
  readonly details: Record<string, unknown>;
}
"#;

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        let js = js_sys::Error::new(&error.to_string());
        // A variant without facts is null as JSON.
        let details = to_js(&error).ok().filter(JsValue::is_object).unwrap_or_else(|| Object::new().into());
        // Setting a property fails on frozen objects only.
        let _ = Reflect::set(&js, &"code".into(), &error.code().into());
        let _ = Reflect::set(&js, &"details".into(), &details);
        js.into()
    }
}

/// The error behind what a source threw or rejected with while it was asked for `path` up to byte `end`.
///
/// A thrown value with the `code` of an error of ours is that error; an `AbortError` is a cancellation.
pub(super) fn from_source(thrown: &JsValue, path: &str, end: u64) -> Error {
    let text = |name: &str| property(thrown, name).and_then(|value| value.as_string());
    let path = path.to_owned();
    match (text("code").as_deref(), text("name").as_deref()) {
        (Some("cancelled"), _) | (_, Some("AbortError")) => Error::Cancelled,
        (Some("file_missing"), _) => Error::FileMissing { path },
        (Some("file_truncated"), _) => {
            let details = property(thrown, "details").unwrap_or_default();
            let fact = |name| property(&details, name).and_then(|value| value.as_f64());
            let expected = fact("expected").map_or(end, |bytes| bytes as u64);
            Error::FileTruncated { path, expected, found: fact("found").unwrap_or_default() as u64 }
        }
        // The facts of a read_failed have the reason without the path, which the message repeats.
        (Some("read_failed"), _) => {
            let reason =
                property(thrown, "details").and_then(|details| property(&details, "reason")?.as_string());
            Error::ReadFailed { path, reason: reason.unwrap_or_else(|| describe(thrown)) }
        }
        _ => Error::ReadFailed { path, reason: describe(thrown) },
    }
}

/// A value in words: an error's message, text in quotes, a number as such, of anything else the type.
pub(super) fn describe(value: &JsValue) -> String {
    if let Some(error) = value.dyn_ref::<js_sys::Error>() {
        return String::from(error.message());
    }
    if let Some(text) = value.as_string() {
        return format!("{text:?}");
    }
    if let Some(number) = value.as_f64() {
        return number.to_string();
    }
    if let Some(boolean) = value.as_bool() {
        return boolean.to_string();
    }
    if let Some(bigint) = value.dyn_ref::<js_sys::BigInt>().and_then(|b| b.to_string(10).ok()) {
        return String::from(bigint);
    }
    let message = property(value, "message").and_then(|message| message.as_string());
    message.or_else(|| value.js_typeof().as_string()).unwrap_or_default()
}

fn property(value: &JsValue, name: &str) -> Option<JsValue> {
    // Reflect.get throws for what is no object.
    Reflect::get(value, &name.into()).ok()
}
