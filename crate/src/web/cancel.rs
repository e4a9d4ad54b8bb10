//! The flag that JavaScript raises.

use wasm_bindgen::prelude::*;

/// Stops the work that it was given to, which then rejects with `cancelled`; seen between reads and between submits.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct CancelFlag {
    pub(super) flag: crate::CancelFlag,
}

#[wasm_bindgen]
impl CancelFlag {
    /// A flag that is not raised.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag, for good.
    pub fn cancel(&self) {
        self.flag.cancel();
    }
}
