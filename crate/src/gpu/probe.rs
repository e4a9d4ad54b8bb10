//! What a device only shows when it is tried.

use super::device::Gpu;
use super::dispatch::{Binding, Dispatch, Kernel};
use crate::Result;
use crate::tensor::{DType, Tensor};

/// Invocations of the probe for quads.
const INVOCATIONS: u32 = 32;

impl Gpu {
    /// Whether invocations 4 i to 4 i + 3 of a workgroup are a quad. Browsers do not say whether wgpu's device may use subgroups at
    /// all, and no API says which invocations are neighbours.
    ///
    /// # Errors
    /// The device's own, but for what it says against the shader.
    pub(super) async fn has_quads(&self) -> Result<bool> {
        let expected = (0..INVOCATIONS).map(|i| (i ^ 1) | (i ^ 2) << 8 | (i | 3) << 16).collect();
        self.finds(Kernel::new("quad_probe", ["QUAD"]), expected).await
    }

    /// Whether a workgroup of 8 invocations is a subgroup, in its order.
    ///
    /// # Errors
    /// As [`Self::has_quads`].
    pub(super) async fn has_octets(&self) -> Result<bool> {
        self.finds(Kernel::new("octet_probe", ["OCTET"]), vec![0x7654_3210; 8]).await
    }

    /// Whether a workgroup of a kernel writes this.
    async fn finds(&self, kernel: Kernel, expected: Vec<u32>) -> Result<bool> {
        let out = Tensor::resident(DType::U32, &[expected.len()]);
        let dispatch = Dispatch {
            kernel,
            bindings: vec![Binding::write(&out)],
            params: Vec::new(),
            grid: [1, 1, 1],
            flops: 0,
        };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let program = self.prepare_dispatches(vec![dispatch]);
        if scope.pop().await.is_some() {
            self.release(&out);
            return Ok(false);
        }
        self.run(&program?, &crate::CancelFlag::new()).await?;
        let found = self.read(&out).await?;
        self.release(&out);
        Ok(found.chunks_exact(4).map(bytemuck::pod_read_unaligned::<u32>).eq(expected))
    }
}
