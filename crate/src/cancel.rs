//! Cancelling work that is under way.

use std::cell::Cell;
use std::rc::Rc;

use crate::{Error, Result};

/// A flag shared between whoever cancels and the work, which looks at it between reads and between submits.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Rc<Cell<bool>>);

impl CancelFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop; it ends with [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.set(true);
    }

    /// # Errors
    /// [`Error::Cancelled`] once [`CancelFlag::cancel`] was called.
    pub fn check(&self) -> Result<()> {
        if self.0.get() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
