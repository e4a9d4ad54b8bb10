//! Model files that JavaScript brings: it owns the network, the disk and the caches.

use std::cell::RefCell;
use std::ops::Range;

use futures_util::future::LocalBoxFuture;
use js_sys::{Array, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::errors::{describe, from_source};
use super::{JsResult, to_js};
use crate::weights::{Source, Span};
use crate::{Error, Result};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A range of a file's bytes; `end` is exclusive. */
export interface WasmSpan {
  path: string;
  start: number;
  end: number;
}

/**
 * A diffusers folder. Paths are relative to it, with `/`. A rejection with a `code` of `file_missing`,
 * `file_truncated` or `cancelled`, or an `AbortError`, keeps its meaning; any other is a `read_failed`.
 */
export interface WasmSource {
  /** Length of a file in bytes; rejects with `file_missing` where there is none. */
  size(path: string): Promise<number>;
  /** Exactly `end - start` bytes. A few are asked for at once, in the order of the file. */
  read(path: string, start: number, end: number): Promise<Uint8Array>;
  /** What `read` gave was copied: its memory may be used for the next. */
  giveBack?(bytes: Uint8Array): void;
  /** Told the spans that are read next, in that order; again whenever weights come back to the device. */
  plan?(spans: WasmSpan[]): void;
  /** Brings a span into the browser's storage, if it is not read from there already; nothing of it is wanted yet. */
  fetch?(path: string, start: number, end: number): Promise<void>;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// A JavaScript object with `size`, `read` and perhaps more.
    #[wasm_bindgen(typescript_type = "WasmSource")]
    #[derive(Debug, Clone)]
    pub type WasmSource;

    #[wasm_bindgen(method, catch)]
    fn size(this: &WasmSource, path: &str) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn read(this: &WasmSource, path: &str, start: f64, end: f64) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch, js_name = giveBack)]
    fn give_back(this: &WasmSource, bytes: &Uint8Array) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn fetch(this: &WasmSource, path: &str, start: f64, end: f64) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn plan(this: &WasmSource, spans: &Array) -> std::result::Result<(), JsValue>;
}

/// [`WasmSource`] as the crate's [`Source`].
#[derive(Debug)]
pub(super) struct JsSource {
    files: WasmSource,
    /// What `plan` threw; the next read reports it.
    refused: RefCell<Option<Error>>,
}

impl JsSource {
    pub fn new(files: WasmSource) -> Self {
        Self { files, refused: RefCell::default() }
    }

    fn has(&self, method: &str) -> bool {
        Reflect::get(&self.files, &method.into()).is_ok_and(|method| method.is_function())
    }

    async fn read_size(&self, path: &str) -> Result<u64> {
        let size = settle(self.files.size(path)).await.map_err(|thrown| from_source(&thrown, path, 0))?;
        match size.as_f64() {
            Some(bytes) if (0.0..=js_sys::Number::MAX_SAFE_INTEGER).contains(&bytes) => Ok(bytes as u64),
            _ => Err(failed(path, format!("its size is {}, expected a number of bytes", describe(&size)))),
        }
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let read = self.files.read(path, range.start as f64, range.end as f64);
        let value = settle(read).await.map_err(|thrown| from_source(&thrown, path, range.end))?;
        let Ok(array) = value.dyn_into::<Uint8Array>() else {
            return Err(failed(path, "the source did not give a Uint8Array".into()));
        };
        let (expected, found) = (range.end.saturating_sub(range.start), u64::from(array.length()));
        if found < expected {
            return Err(Error::FileTruncated {
                path: path.to_owned(),
                expected: range.end,
                found: range.start + found,
            });
        }
        if found > expected {
            return Err(failed(path, format!("the source gave {found} bytes, {expected} were asked for")));
        }
        let (mut bytes, length) = (Vec::new(), array.length() as usize);
        if bytes.try_reserve_exact(length).is_err() {
            return Err(Error::OutOfMemory { reason: format!("reading {path}") });
        }
        bytes.resize(length, 0);
        array.copy_to(&mut bytes);
        if self.has("giveBack") {
            self.files.give_back(&array).map_err(|thrown| from_source(&thrown, path, range.end))?;
        }
        Ok(bytes)
    }
}

impl Source for JsSource {
    fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
        Box::pin(self.read_size(path))
    }

    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(self.read_range(path, range))
    }

    fn fetch<'a>(&'a self, Span { path, range }: &'a Span) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !self.has("fetch") {
                return Ok(());
            }
            let fetched = self.files.fetch(path, range.start as f64, range.end as f64);
            settle(fetched).await.map_err(|thrown| from_source(&thrown, path, range.end))?;
            Ok(())
        })
    }

    fn plan(&self, spans: &[Span]) {
        if !self.has("plan") {
            return;
        }
        let list = Array::new();
        for Span { path, range } in spans {
            let span = serde_json::json!({ "path": path, "start": range.start, "end": range.end });
            list.push(&to_js(&span).unwrap_or_default());
        }
        if let Err(thrown) = self.files.plan(&list) {
            let path = spans.first().map_or("", |span| &span.path);
            self.refused.replace(Some(from_source(&thrown, path, 0)));
        }
    }
}

/// Waits for what a method gave: a promise, or a plain value.
async fn settle(returned: JsResult) -> JsResult {
    JsFuture::from(Promise::resolve(&returned?)).await
}

fn failed(path: &str, reason: String) -> Error {
    Error::ReadFailed { path: path.to_owned(), reason }
}
