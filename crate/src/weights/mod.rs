//! Checkpoints: where their bytes come from, what the files hold, and the way onto the device.

pub mod blocks;
pub mod component;
mod device_blocks;
pub mod gguf;
pub mod gguf_writer;
pub mod kind;
pub mod layout;
pub mod load;
pub mod manifest;
pub mod metadata;
pub mod naming;
pub mod overlay;
#[cfg(not(target_arch = "wasm32"))]
pub mod packed;
pub mod packing;
pub mod quantise;
pub mod safetensors;
pub mod scope;
pub mod source;
pub mod stored;

pub use component::{Component, Container};
pub use kind::ComponentKind;
pub use layout::Layout;
pub use load::{LoadProgress, fetch_weights, load_weights};
pub use manifest::{Manifest, ManifestComponent, ManifestFile};
pub use metadata::{MetaArray, MetaValue, Metadata};
pub use naming::Naming;
pub use overlay::Overlay;
#[cfg(not(target_arch = "wasm32"))]
pub use packed::PackedSource;
pub use packing::Packing;
pub use scope::{Checkpoint, FileTensor, Scope, WeightSpec, Weights};
pub use source::{Source, Span};
pub use stored::{FileDtype, TensorLocation};
