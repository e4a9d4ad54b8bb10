//! The wasm build in a browser's worker: both executors, and the JavaScript interface over them.
//!
//! No adapter is a failure, never a skip.
#![cfg(target_arch = "wasm32")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

#[cfg(feature = "bench")]
mod bench;
mod bindings;
mod executors;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
