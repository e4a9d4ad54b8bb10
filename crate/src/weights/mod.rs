//! Checkpoints: where their bytes come from, what the files hold, and the way onto the device.

pub mod blocks;
pub mod component;
mod device_blocks;
pub mod gguf;
pub mod kind;
pub mod layout;
pub mod load;
pub mod metadata;
pub mod naming;
pub mod overlay;
pub mod quantise;
pub mod safetensors;
pub mod scope;
pub mod source;
pub mod stored;

pub use component::{Component, Container};
pub use kind::ComponentKind;
pub use layout::Layout;
pub use load::{LoadProgress, fetch_weights, load_weights};
pub use metadata::{MetaArray, MetaValue, Metadata};
pub use naming::Naming;
pub use overlay::Overlay;
pub use scope::{Checkpoint, FileTensor, Scope, WeightSpec, Weights};
pub use source::{Source, Span};
pub use stored::{FileDtype, TensorLocation};
