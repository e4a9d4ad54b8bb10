//! Lowering of attention: by heads while whole heads fit, then by queries.

use super::gemm::{expect_aligned, read_as_texels, unused};
use super::*;
use crate::gpu::texels::Rows;
use crate::ops::Attention;

const OP: &str = "attention";

/// So many keys quads take 32 at a time instead of 16: a third fewer loads, and at most 31 keys in vain.
const LONG_KEYS: usize = 128;

/// Which of the bindings the bias is, which the variant without one leaves out.
const BIAS: usize = 3;

/// Queries and heads of one dispatch.
struct Split {
    heads: usize,
    queries: usize,
}

pub(super) fn lower(op: &Attention, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [heads, queries, d] = op.q.dims(OP, "q")?;
    let [_, keys, _] = op.k.dims(OP, "k")?;
    for (what, tensor) in [("q", &op.q), ("k", &op.k), ("v", &op.v), ("out", &op.out)] {
        expect_aligned(OP, what, tensor)?;
    }
    // Invocations take four queries each, together 16 in a quad and 32 in an octet; a workgroup of tiles takes 64.
    let (flags, tile, workgroup_tiles): (&[_], _, _) = match d {
        _ if limits.barrier_free && limits.quads && keys >= LONG_KEYS => (&["QUAD", "LONG"], 16, 2),
        _ if limits.barrier_free && limits.quads => (&["QUAD"], 16, 2),
        _ if limits.barrier_free => (&["DIRECT"], 4, 8),
        0..=32 => (&["HEAD32"], 64, 1),
        33..=64 => (&["HEAD64"], 64, 1),
        _ => (&["HEAD128"], 64, 1),
    };
    let split = Split::new(op, tile, limits)?;
    let mut dispatches = Vec::new();
    for part in pieces(heads, split.heads) {
        for rows in pieces(queries, split.queries) {
            let in_q = part.start * queries + rows.start..(part.end - 1) * queries + rows.end;
            let in_k = part.start * keys..part.end * keys;
            let bias_stride = queries + keys - 1;
            let mut params = words([
                part.len(),
                rows.len(),
                queries,
                keys,
                d / 4,
                heads * d / 4,
                part.start,
                op.bias.is_some().into(),
                bias_stride,
                queries - 1 - rows.start,
            ])?;
            let mut bindings = vec![
                Binding::read_range(&op.q, span(&in_q, d)),
                Binding::read_range(&op.k, span(&in_k, d)),
                Binding::read_range(&op.v, span(&in_k, d)),
                op.bias.as_ref().map_or_else(
                    || unused(&op.q),
                    |bias| Binding::read_range(bias, span(&part, bias_stride)),
                ),
                Binding::write_range(&op.out, span(&rows, heads * d)),
            ];
            let flops = 4 * (part.len() * rows.len()) as u64 * (keys * d) as u64;
            let texels = limits.quads
                && flops >= limits.texel_flops
                && read_as_texels(&mut bindings, &[Rows::whole(d); 3]);
            let octets = texels && limits.octets;
            let (flags, tile, workgroup_tiles): (&[_], _, _) = match octets {
                true if d <= 64 => (&["OCTET", "HEAD64"], 32, 1),
                true => (&["OCTET", "HEAD128"], 32, 1),
                false => (flags, tile, workgroup_tiles),
            };
            let plain = octets && op.bias.is_none();
            if plain {
                bindings.remove(BIAS);
            }
            let more = [plain.then_some("PLAIN"), texels.then_some("TEXELS")];
            let log2_e = std::f32::consts::LOG2_E;
            params.extend([op.scale * log2_e, log2_e, op.last_key_bias * log2_e].map(f32::to_bits));
            dispatches.push(Dispatch {
                kernel: Kernel::new(OP, flags.iter().copied().chain(more.into_iter().flatten())),
                grid: limits.fold((part.len() * rows.len().div_ceil(tile)).div_ceil(workgroup_tiles))?,
                params,
                flops,
                bindings,
            });
        }
    }
    Ok(dispatches)
}

impl Split {
    /// # Errors
    /// [`Error::DeviceTooSmall`] when the keys of one head do not fit a binding.
    fn new(op: &Attention, tile: usize, limits: &Limits) -> Result<Self> {
        let [heads, queries, d] = op.q.dims(OP, "q")?;
        let [_, keys, _] = op.k.dims(OP, "k")?;
        let fit = limits.binding_elements(DType::F32);
        let pairs = limits.dispatch_rows(4 * (keys * d) as u64);
        let most_heads = limits
            .binding_rows(OP, DType::F32, keys * d)?
            .min(fit / (queries * d).max(1))
            .min(pairs / queries.max(1))
            .clamp(1, heads.max(1));
        // Rows of out hold all heads, whichever are written; a single head's queries may be too many for a binding or a dispatch.
        let most_queries = limits
            .binding_rows(OP, DType::F32, heads * d)?
            .min(if most_heads == 1 {
                (fit / d.max(1)).min((pairs - pairs % tile).max(tile))
            } else {
                queries
            })
            .clamp(1, queries.max(1));
        Ok(Self { heads: most_heads, queries: most_queries })
    }
}
