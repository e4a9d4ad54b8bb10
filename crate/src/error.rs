//! Every way the library can fail, as one typed enum.
//!
//! A variant carries the facts (what was expected, what was found, where) and has a stable [`Error::code`]; the web
//! bindings hand JavaScript the same three things as `code`, `message` and `details`. A message ends with what the
//! caller can do about it wherever there is something to do.

use serde::Serialize;

/// Shorthand for a result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. `code()` names the variant in the stable form that reaches JavaScript.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", untagged)]
#[non_exhaustive]
pub enum Error {
    /// The caller cancelled; nothing is broken and the model stays usable.
    #[error("cancelled")]
    Cancelled,

    /// A file of the model folder does not exist.
    #[error(
        "{path} is missing from the model folder: it needs every file of a diffusers pipeline; download it again"
    )]
    FileMissing {
        /// Path inside the model folder.
        path: String,
    },

    /// Parts of a pipeline that are nowhere, where it is put together of single files.
    #[error(
        "no {} given: a clip takes a transformer, a text encoder, a VAE and a tokenizer; give what is missing as a file of its own, or a diffusers folder that has it",
        missing.join(", no ")
    )]
    ComponentMissing {
        /// Their folders in a diffusers pipeline, such as `text_encoder`.
        missing: Vec<String>,
    },

    /// A file ends before the bytes its header promises.
    #[error("{path} is truncated: {expected} bytes expected, {found} found; download it again")]
    FileTruncated {
        /// Path inside the model folder.
        path: String,
        /// Length the header asks for, in bytes.
        expected: u64,
        /// Length found, in bytes.
        found: u64,
    },

    /// A file cannot be parsed.
    #[error("{path} cannot be read: {reason}")]
    FileInvalid {
        /// Path inside the model folder.
        path: String,
        /// What the parser said.
        reason: String,
    },

    /// The manifest of a packed model contradicts itself, or is of another format.
    #[error("{path} is no manifest that can be used: {field} {reason}; pack the model again")]
    ManifestInvalid {
        /// Path of the manifest.
        path: String,
        /// What is wrong with it, such as `files[2].chunks`.
        field: String,
        /// In which way.
        reason: String,
    },

    /// A part of a packed model is not what its manifest says.
    #[error(
        "chunk {chunk} of {path} is not what its manifest says (SHA-256 {found} instead of {expected}): {part} is damaged or of another version, copy it again"
    )]
    HashMismatch {
        /// File, by its path in the model folder.
        path: String,
        /// Which chunk of it, counted from 0.
        chunk: u64,
        /// The part that holds the chunk.
        part: String,
        /// By the manifest.
        expected: String,
        /// Of what is there.
        found: String,
    },

    /// Reading failed for a reason outside the file's content (disk, network).
    #[error("reading {path} failed: {reason}")]
    ReadFailed {
        /// Path inside the model folder, or on disk.
        path: String,
        /// What the system said.
        reason: String,
    },

    /// Writing a result failed.
    #[error("writing {path} failed: {reason}")]
    WriteFailed {
        /// Path on disk.
        path: String,
        /// What the system said.
        reason: String,
    },

    /// A tensor that the architecture needs is in none of the component's files.
    #[error(
        "tensor {tensor} is missing from {component}: its files are not all there, or not of the architecture that its config.json or its other tensors say"
    )]
    TensorMissing {
        /// Component folder, such as `transformer`.
        component: String,
        /// Checkpoint key.
        tensor: String,
    },

    /// A tensor has another shape than its config asks for.
    #[error(
        "tensor {tensor} of {component} has shape {found:?}, expected {expected:?}: its config.json or its other tensors ask for that"
    )]
    TensorShape {
        /// Component folder.
        component: String,
        /// Checkpoint key.
        tensor: String,
        /// Shape by the config.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },

    /// A tensor has a number format that cannot be read.
    #[error(
        "tensor {tensor} of {component} is stored as {found}; F32, F16, BF16, F8_E4M3, F8_E5M2, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are supported: convert it first"
    )]
    TensorDtype {
        /// Component folder.
        component: String,
        /// Checkpoint key.
        tensor: String,
        /// Format in the file.
        found: String,
    },

    /// A weight holds NaN or infinity.
    #[error(
        "tensor {tensor} of {component} holds a value that is not finite at element {index}: the file is damaged, download it again"
    )]
    TensorNotFinite {
        /// Component folder.
        component: String,
        /// Checkpoint key.
        tensor: String,
        /// Flat index of the first such element.
        index: usize,
    },

    /// A result holds NaN or infinity; `stage` names where it first shows.
    #[error(
        "{stage} gave values that are not finite: try another seed, or device \"cpu\" to tell a driver fault from a model fault"
    )]
    ResultNotFinite {
        /// Stage, such as `step 3` or `decode`.
        stage: String,
    },

    /// A config asks for something the runtime does not have.
    #[error("{path}: {field} is {found}, expected {expected}")]
    ConfigUnsupported {
        /// Config file inside the model folder.
        path: String,
        /// Field name.
        field: String,
        /// What is supported.
        expected: String,
        /// What the file says.
        found: String,
    },

    /// The folder holds a pipeline or a component class that is not known.
    #[error("{path} has {found}; supported is {supported}")]
    ArchitectureUnknown {
        /// Config file inside the model folder.
        path: String,
        /// Class name found.
        found: String,
        /// Class names that work.
        supported: String,
    },

    /// Width or height that the model cannot make.
    #[error(
        "{width}x{height} cannot be made by this model: both must be positive multiples of {multiple}; the nearest is {nearest_width}x{nearest_height}"
    )]
    SizeUnsupported {
        /// Asked width in pixels.
        width: usize,
        /// Asked height in pixels.
        height: usize,
        /// Stride of the model in pixels.
        multiple: usize,
        /// Nearest possible width.
        nearest_width: usize,
        /// Nearest possible height.
        nearest_height: usize,
    },

    /// Frame count that the model cannot make.
    #[error(
        "{frames} frames cannot be made by this model: a clip has {stride}n+1 frames; the nearest is {nearest}"
    )]
    FramesUnsupported {
        /// Asked number of frames.
        frames: usize,
        /// Temporal stride of the VAE.
        stride: usize,
        /// Nearest possible number.
        nearest: usize,
    },

    /// An option outside its range.
    #[error("{option} is {found}, expected {expected}")]
    OptionInvalid {
        /// Option name.
        option: String,
        /// Range or choices.
        expected: String,
        /// What was given.
        found: String,
    },

    /// No adapter, or the one found lacks what WebGPU guarantees.
    #[error("no usable GPU: {reason}; use device \"cpu\", or a browser with WebGPU")]
    DeviceUnavailable {
        /// What the system said.
        reason: String,
    },

    /// The plan needs more than the device allows.
    #[error(
        "{what} needs {needed} bytes, the device allows {allowed}: choose a smaller size or fewer frames"
    )]
    DeviceTooSmall {
        /// What does not fit (a tensor, a binding, the whole plan).
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
    },

    /// The device ran out of memory while allocating.
    #[error(
        "the device ran out of memory ({reason}): choose a smaller size or fewer frames, or close other tabs"
    )]
    OutOfMemory {
        /// What the driver said.
        reason: String,
    },

    /// The device is gone (driver reset, sleep, removal).
    #[error("the GPU was lost ({reason}): load the model again")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },

    /// The device refused an operation; always a fault of this library or of the driver.
    #[error("the GPU refused an operation: {reason}; please report this with the adapter's name")]
    DeviceError {
        /// What the driver said.
        reason: String,
    },

    /// Two shapes that do not go together reached an operation; found before anything runs.
    #[error("{op}: {what} is {found:?}, expected {expected:?}")]
    ShapeMismatch {
        /// Operation name.
        op: &'static str,
        /// Which operand.
        what: &'static str,
        /// Shape asked for.
        expected: Vec<usize>,
        /// Shape given.
        found: Vec<usize>,
    },

    /// A call in the wrong order, such as frames before the last step.
    #[error("{call} cannot be called now: {reason}")]
    WrongState {
        /// The call.
        call: &'static str,
        /// What has to come first.
        reason: String,
    },
}

impl Error {
    /// The stable name of this error, such as `size_unsupported`; part of the public API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::FileMissing { .. } => "file_missing",
            Self::ComponentMissing { .. } => "component_missing",
            Self::FileTruncated { .. } => "file_truncated",
            Self::FileInvalid { .. } => "file_invalid",
            Self::ManifestInvalid { .. } => "manifest_invalid",
            Self::HashMismatch { .. } => "hash_mismatch",
            Self::ReadFailed { .. } => "read_failed",
            Self::WriteFailed { .. } => "write_failed",
            Self::TensorMissing { .. } => "tensor_missing",
            Self::TensorShape { .. } => "tensor_shape",
            Self::TensorDtype { .. } => "tensor_dtype",
            Self::TensorNotFinite { .. } => "tensor_not_finite",
            Self::ResultNotFinite { .. } => "result_not_finite",
            Self::ConfigUnsupported { .. } => "config_unsupported",
            Self::ArchitectureUnknown { .. } => "architecture_unknown",
            Self::SizeUnsupported { .. } => "size_unsupported",
            Self::FramesUnsupported { .. } => "frames_unsupported",
            Self::OptionInvalid { .. } => "option_invalid",
            Self::DeviceUnavailable { .. } => "device_unavailable",
            Self::DeviceTooSmall { .. } => "device_too_small",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::DeviceLost { .. } => "device_lost",
            Self::DeviceError { .. } => "device_error",
            Self::ShapeMismatch { .. } => "shape_mismatch",
            Self::WrongState { .. } => "wrong_state",
        }
    }
}
