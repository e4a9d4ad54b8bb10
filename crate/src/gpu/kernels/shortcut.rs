//! Lowering of the residual VAE's shortcuts: by rows of the output.

use super::*;
use crate::ops::{AverageDown, DuplicateUp};

pub(super) fn lower_down(op: &AverageDown, limits: &Limits) -> Result<Vec<Dispatch>> {
    const OP: &str = "average_down";
    let [h, w, c_out] = op.out.dims(OP, "out")?;
    let (time, fs) = (op.frames.len(), op.factor);
    let Some(frame) = op.frames.iter().flatten().next() else {
        return Err(Error::ShapeMismatch { op: OP, what: "frames", expected: vec![1], found: vec![0] });
    };
    let [_, _, c] = frame.dims(OP, "frame")?;
    let group = c * time * fs * fs / c_out.max(1);
    let given = |index: usize| op.frames.get(index).and_then(Option::as_ref);
    let flags = [given(0).map(|_| "FIRST"), given(1).map(|_| "SECOND")];
    // The frames' rows for one row of the output.
    let source = fs * w * fs * c;
    let most = most_rows(OP, w * c_out, limits)?.min(most_rows(OP, source, limits)?);
    pieces(h, most)
        .map(|rows| {
            let mut bindings = vec![Binding::read_range(&op.base, span(&rows, w * c_out))];
            let frames = [given(0), given(1)].into_iter().flatten();
            bindings.extend(frames.map(|frame| Binding::read_range(frame, span(&rows, source))));
            bindings.push(Binding::write_range(&op.out, span(&rows, w * c_out)));
            let count = rows.len() * w * c_out;
            Ok(Dispatch {
                kernel: Kernel::new(OP, flags.into_iter().flatten()),
                grid: element_grid(count, limits)?,
                params: words([count, w, c_out, c, time, fs, group])?,
                flops: (count * group) as u64,
                bindings,
            })
        })
        .collect()
}

pub(super) fn lower_up(op: &DuplicateUp, limits: &Limits) -> Result<Vec<Dispatch>> {
    const OP: &str = "duplicate_up";
    let [h, w, c_out] = op.out.dims(OP, "out")?;
    let [source_rows, source_width, c] = op.x.dims(OP, "x")?;
    let (time, fs) = (op.time_factor, op.factor);
    let repeats = c_out * time * fs * fs / c.max(1);
    // By rows of x, each of which gives fs rows of the output.
    let (source, target) = (source_width * c, h / source_rows.max(1) * w * c_out);
    let most = most_rows(OP, source, limits)?.min(most_rows(OP, target, limits)?);
    pieces(source_rows, most)
        .map(|rows| {
            let count = rows.len() * target;
            Ok(Dispatch {
                kernel: Kernel::new(OP, []),
                grid: element_grid(count, limits)?,
                params: words([count, w, c_out, c, time, fs, op.phase, repeats])?,
                flops: count as u64,
                bindings: vec![
                    Binding::read_range(&op.base, span(&rows, target)),
                    Binding::read_range(&op.x, span(&rows, source)),
                    Binding::write_range(&op.out, span(&rows, target)),
                ],
            })
        })
        .collect()
}
