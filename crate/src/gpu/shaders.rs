//! The shader table: sources, and what each permutation binds, as the build found it.

use super::dispatch::Kernel;
use super::preprocess;
use super::texels::Texel;
use crate::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// What one permutation of a shader binds.
#[derive(Debug)]
pub struct Reflection {
    /// File stem under `shaders/`.
    pub shader: &'static str,
    /// Flags, in the order of the permutation table.
    pub flags: &'static [&'static str],
    /// Bytes of the uniform block at binding 0.
    pub uniform_bytes: u32,
    /// Bindings after the uniform block: number, and what the shader does with it.
    pub bindings: &'static [(u32, Access)],
    /// The binding of the sampler, where there is one: nearest texels.
    pub sampler: Option<u32>,
    /// Invocations of a workgroup.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory.
    pub workgroup_bytes: u32,
}

/// How a shader has a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Storage that it reads.
    Read,
    /// Storage that it writes.
    Write,
    /// A texture of numbers.
    Numbers,
    /// A texture of words.
    Words,
    /// A storage texture that it reads, which lavapipe is faster with.
    Stored(Texel),
}

impl Access {
    /// Whether the shader writes it.
    pub fn writes(self) -> bool {
        self == Self::Write
    }

    /// Whether it is a texture.
    pub fn texels(self) -> bool {
        matches!(self, Self::Numbers | Self::Words | Self::Stored(_))
    }
}

/// Of all sources and the table of permutations: what was found by trying is true of these shaders.
pub fn hash() -> u64 {
    HASH
}

/// Every permutation of every shader.
pub fn reflections() -> &'static [Reflection] {
    REFLECTIONS
}

/// What a kernel binds; `None` when it is not in the permutation table.
pub fn reflection(kernel: &Kernel) -> Option<&'static Reflection> {
    REFLECTIONS.iter().find(|r| r.shader == kernel.shader && r.flags == kernel.flags)
}

/// The WGSL of a kernel.
///
/// # Errors
/// [`Error::DeviceError`] for a kernel that is not in the table.
pub fn source(kernel: &Kernel) -> Result<String> {
    let find = |path: &str| SOURCES.iter().find(|(name, _)| *name == path).copied();
    preprocess::expand(&find, &format!("{}.wgsl", kernel.shader), &kernel.flags)
        .map(|lines| preprocess::join(&lines))
        .map_err(|fault| Error::DeviceError { reason: fault.to_string() })
}
