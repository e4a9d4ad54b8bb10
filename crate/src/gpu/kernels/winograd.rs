//! Convolutions of 3 x 3 by Winograd's F(2x2, 3x3) ([Lavin & Gray, 2015](https://arxiv.org/abs/1509.09308)): weight and frames are
//! transformed, sixteen products of matrices take the place of nine taps over four times as many rows, and what they give is
//! transformed back: 2.25 times fewer multiplications. The frames of a causal convolution are side by side in one matrix, so that the
//! sum over them is the product's own.

use super::conv::Walk;
use super::gemm::{Combination, Family, Gemm, aligned, expect_aligned, format_flag, unused};
use super::*;
use crate::gpu::texels::Rows;
use crate::ops::{Activation, Conv};

const OP: &str = "conv";

/// Values that a block of 2 x 2 results is transformed to: a matrix for each.
const POINTS: usize = 16;

/// Most bytes of the transformed frames, and of their products: further blocks come after those before. Enough for many tiles, and
/// few enough for the caches of large devices.
const SLAB_BYTES: usize = 16 << 20;

/// Blocks below which transforming the weight costs more than is won: with 16, software adapters win a quarter. Never so few rows
/// that the skinny kernel is chosen.
const FEWEST_BLOCKS: usize = 16;

/// The dispatches of a convolution where it suits, else `None`. The memory between them is theirs alone.
pub(super) fn lower(op: &Conv, limits: &Limits) -> Result<Option<Vec<Dispatch>>> {
    let Some(transforms) = Transforms::of(op, limits)? else { return Ok(None) };
    let Transforms { depth, columns, block_rows, block_width, most_block_rows, tile, .. } = transforms;
    let blocks = (most_block_rows.min(block_rows) * block_width).next_multiple_of(tile);
    let weight = Tensor::temporary(&[POINTS * depth, columns]);
    let inputs = Tensor::temporary(&[POINTS * blocks, depth]);
    let products = Tensor::temporary(&[POINTS * blocks, columns]);
    let mut dispatches = transforms.weight(&weight)?;
    for rows in pieces(block_rows, most_block_rows) {
        let blocks = rows.len() * block_width;
        let slab = Slab { padded: blocks.next_multiple_of(tile), blocks, rows };
        let inputs = inputs.rows(0, POINTS * slab.padded)?;
        let products = products.rows(0, POINTS * slab.padded)?;
        dispatches.extend(transforms.frames(&slab, &inputs)?);
        dispatches.extend(transforms.products(&slab, [&inputs, &weight, &products])?);
        dispatches.push(transforms.results(&slab, &products)?);
    }
    Ok(Some(dispatches))
}

struct Transforms<'a> {
    op: &'a Conv,
    limits: &'a Limits,
    /// Those that are there, with their place in the kernel.
    frames: Vec<(usize, &'a Tensor)>,
    walk: Walk,
    frame_width: usize,
    /// Of a frame.
    channels: usize,
    /// Channels of all frames.
    depth: usize,
    /// Channels of the result.
    columns: usize,
    /// Blocks below and beside each other.
    block_rows: usize,
    block_width: usize,
    /// That are transformed together.
    most_block_rows: usize,
    family: Family,
    /// Rows of a tile.
    tile: usize,
}

/// Rows of blocks that are transformed together.
struct Slab {
    rows: Range<usize>,
    blocks: usize,
    /// To whole tiles, whose rows are of one product alone.
    padded: usize,
}

impl<'a> Transforms<'a> {
    fn of(op: &'a Conv, limits: &'a Limits) -> Result<Option<Self>> {
        let [height, width, columns] = op.out.dims(OP, "out")?;
        let frames: Vec<_> =
            op.frames.iter().enumerate().filter_map(|(t, frame)| Some((t, frame.as_ref()?))).collect();
        let Some((_, first)) = frames.first() else { return Ok(None) };
        let [frame_height, frame_width, channels] = first.dims(OP, "frame")?;
        let [_, kernel_height, kernel_width] = op.weight.kernel;
        let (block_rows, block_width) = (height.div_ceil(2), width.div_ceil(2));
        let depth = frames.len() * channels;
        let most = limits.binding_elements(DType::F32);
        let suits = [kernel_height, kernel_width, op.options.stride] == [3, 3, 1]
            && channels % 4 == 0
            && columns % 4 == 0
            && channels.min(columns) >= limits.winograd_channels
            && block_rows * block_width >= FEWEST_BLOCKS
            && POINTS * depth * columns <= most
            && frames.iter().map(|(_, frame)| *frame).chain([&op.out]).chain(&op.residual).all(aligned);
        if !suits {
            return Ok(None);
        }
        expect_aligned(OP, "first element of the weight", &op.weight.matrix)?;
        let family = Family::choose(POINTS * block_rows * block_width, columns, limits);
        // Where it costs little, so that a dispatch may have either.
        let whole = family.whole_rows();
        let tile = if block_rows * block_width >= 8 * whole { whole } else { family.tile().0 };
        let room = most_elements(limits).min(SLAB_BYTES / 4) / (POINTS * depth.max(columns));
        let blocks = (room - room % tile).min(family.dispatch_rows(row_flops(depth, columns), limits));
        let walk = Walk { height: frame_height, kernel_height, options: op.options };
        let most_block_rows = (blocks / block_width)
            .min(walk.most_rows(most / (frame_width * channels).max(1)) / 2)
            .min(most / (2 * width * columns));
        Ok((most_block_rows > 0).then_some(Self {
            op,
            limits,
            frames,
            walk,
            frame_width,
            channels,
            depth,
            columns,
            block_rows,
            block_width,
            most_block_rows,
            family,
            tile,
        }))
    }

    /// A dispatch for every run of frames that follow each other in the weight.
    fn weight(&self, out: &Tensor) -> Result<Vec<Dispatch>> {
        let &Self { channels, columns, depth, .. } = self;
        let matrix = &self.op.weight.matrix;
        let format = format_flag(matrix.dtype());
        let mut before = 0;
        let runs = self.frames.chunk_by(|(t, _), (next, _)| t + 1 == *next);
        runs.filter_map(|run| Some((run.first()?.0, run.len())))
            .map(|(t, count)| {
                let first = before * channels;
                before += count;
                let rows = t * 9 * channels..(t + count) * 9 * channels;
                Ok(Dispatch {
                    kernel: Kernel::new("winograd_weight", format),
                    grid: element_grid(count * channels * columns / 4, self.limits)?,
                    params: words([count, channels, columns, depth, first])?,
                    flops: 0,
                    bindings: vec![Binding::read_range(matrix, span(&rows, columns)), Binding::write(out)],
                })
            })
            .collect()
    }

    /// A dispatch for every frame.
    fn frames(&self, slab: &Slab, out: &Tensor) -> Result<Vec<Dispatch>> {
        let &Self { channels, depth, frame_width, block_width, .. } = self;
        let rows = self.walk.in_rows(&(2 * slab.rows.start..2 * slab.rows.end));
        let elements = span(&rows, frame_width * channels);
        let frames = self.frames.iter().enumerate();
        frames
            .map(|(slot, (_, frame))| {
                Ok(Dispatch {
                    kernel: Kernel::new("winograd_frame", []),
                    grid: element_grid(slab.blocks * channels / 4, self.limits)?,
                    params: words([
                        self.walk.height,
                        frame_width,
                        channels,
                        rows.start,
                        slab.blocks,
                        slab.padded,
                        block_width,
                        slab.rows.start,
                        depth,
                        slot * channels,
                        self.op.options.pad_before,
                        self.op.options.upsample.into(),
                    ])?,
                    flops: 0,
                    bindings: vec![Binding::read_range(frame, elements.clone()), Binding::write(out)],
                })
            })
            .collect()
    }

    fn products(&self, slab: &Slab, [x, weight, out]: [&Tensor; 3]) -> Result<Vec<Dispatch>> {
        let &Self { depth, columns, .. } = self;
        let padded = slab.padded;
        let rows = self.family.dispatch_rows(row_flops(depth, columns), self.limits);
        pieces(POINTS, rows / padded)
            .map(|points| {
                let gemm = Gemm {
                    rows: points.len() * padded,
                    all_rows: points.len() * padded,
                    columns,
                    channels: depth,
                    taps: 1,
                    products: points.len(),
                    weight: Rows::whole(columns),
                    width: columns,
                    column: 0,
                    bias: false,
                    activation: Activation::None,
                    combination: Combination::None,
                    relu: false,
                };
                let bindings = vec![
                    Binding::read_range(x, span(&points, padded * depth)),
                    Binding::read_range(weight, span(&points, depth * columns)),
                    unused(x),
                    unused(x),
                    Binding::write_range(out, span(&points, padded * columns)),
                ];
                let own = words([padded])?;
                gemm.dispatch("winograd_product", self.family, true, bindings, own, self.limits)
            })
            .collect()
    }

    fn results(&self, slab: &Slab, products: &Tensor) -> Result<Dispatch> {
        let &Self { op, columns, block_width, .. } = self;
        let [height, width, _] = op.out.dims(OP, "out")?;
        let rows = 2 * slab.rows.start..(2 * slab.rows.end).min(height);
        let elements = span(&rows, width * columns);
        let added = |tensor: &Tensor| Binding::read_range(tensor, elements.clone());
        Ok(Dispatch {
            kernel: Kernel::new("winograd_out", []),
            grid: element_grid(slab.blocks * columns / 4, self.limits)?,
            params: words([
                rows.len(),
                width,
                columns,
                slab.blocks,
                slab.padded,
                block_width,
                op.bias.is_some().into(),
                op.residual.is_some().into(),
                op.relu.into(),
            ])?,
            flops: 0,
            bindings: vec![
                Binding::read(products),
                op.bias.as_ref().map_or_else(|| unused(products), Binding::read),
                op.residual.as_ref().map_or_else(|| unused(products), added),
                Binding::write_range(&op.out, elements.clone()),
            ],
        })
    }
}

/// Work of a row of one product.
fn row_flops(depth: usize, columns: usize) -> u64 {
    2 * depth as u64 * columns as u64
}
