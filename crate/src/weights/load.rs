//! From the files onto the device, a few megabytes at a time.

use std::collections::HashMap;
use std::ops::Range;

use futures_util::stream::{self, StreamExt};

use super::scope::WeightSpec;
use super::source::{Source, Span};
use crate::executor::Executor;
use crate::{CancelFlag, Error, Result};

/// Neighbouring tensors are read together up to this many bytes; a larger tensor is read alone.
const SPAN_BYTES: u64 = 4 << 20;

/// Unneeded bytes between two tensors that are read along rather than asked around.
const GAP_BYTES: u64 = 64 << 10;

/// Reads under way at once.
const PARALLEL_READS: usize = 3;

/// How far loading has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LoadProgress {
    /// Component whose tensors came last.
    pub component: String,
    /// Bytes read.
    pub loaded: u64,
    /// Bytes to read in all.
    pub total: u64,
}

/// Tensors that lie close together in one file. One tensor of the file may be wanted as several (slabs, halves).
struct Batch<'a> {
    span: Span,
    specs: Vec<(&'a WeightSpec, Range<u64>)>,
}

/// Reads every weight from `source` in file order, checks that it is finite, repacks it and uploads it. No more than a few
/// spans are in memory at once.
///
/// # Errors
/// What the source reports, [`Error::TensorNotFinite`], [`Error::OutOfMemory`], [`Error::Cancelled`].
pub async fn load_weights(
    specs: &[WeightSpec],
    source: &dyn Source,
    executor: &Executor,
    cancel: &CancelFlag,
    on_progress: &mut dyn FnMut(LoadProgress),
) -> Result<()> {
    let batches = batches(specs);
    let spans: Vec<Span> = batches.iter().map(|b| b.span.clone()).collect();
    source.plan(&spans);
    let total = spans.iter().map(|s| s.range.end - s.range.start).sum();
    let mut loaded = 0;
    let mut reads = stream::iter(batches)
        .map(|batch| async move {
            let bytes = source.read(&batch.span.path, batch.span.range.clone()).await;
            (batch, bytes)
        })
        .buffered(PARALLEL_READS);
    while let Some((batch, bytes)) = reads.next().await {
        cancel.check()?;
        let bytes = bytes?;
        for (spec, range) in &batch.specs {
            upload(spec, slice(&bytes, range, &batch.span)?, executor)?;
        }
        loaded += bytes.len() as u64;
        let component = batch.specs.last().map(|(s, _)| s.component.clone()).unwrap_or_default();
        on_progress(LoadProgress { component, loaded, total });
    }
    Ok(())
}

fn upload(spec: &WeightSpec, bytes: &[u8], executor: &Executor) -> Result<()> {
    let Some(location) = &spec.location else { return Ok(()) };
    if let Some(index) = location.dtype.first_not_finite(bytes) {
        return Err(Error::TensorNotFinite {
            component: spec.component.clone(),
            tensor: spec.key.clone(),
            index,
        });
    }
    executor.upload(&spec.tensor, &spec.layout.repack(bytes, &location.dtype, &location.shape))
}

fn slice<'a>(bytes: &'a [u8], range: &Range<u64>, span: &Span) -> Result<&'a [u8]> {
    let local = range.start - span.range.start..range.end - span.range.start;
    bytes.get(local.start as usize..local.end as usize).ok_or_else(|| Error::FileTruncated {
        path: span.path.clone(),
        expected: span.range.end,
        found: span.range.start + bytes.len() as u64,
    })
}

fn batches(specs: &[WeightSpec]) -> Vec<Batch<'_>> {
    let mut located: Vec<_> = specs
        .iter()
        .filter_map(|s| s.location.as_ref().map(|l| (s, l.path.as_str(), l.range.clone())))
        .collect();
    // Files keep the order of the components, so that progress names one after the other.
    let mut order = HashMap::new();
    for (_, path, _) in &located {
        let next = order.len();
        order.entry(*path).or_insert(next);
    }
    located.sort_by_key(|(_, path, range)| (order.get(path).copied(), range.start));
    let mut batches: Vec<Batch> = Vec::new();
    for (spec, path, range) in located {
        match batches.last_mut() {
            Some(last)
                if last.span.path == path
                    && range.start <= last.span.range.end + GAP_BYTES
                    && (range.end <= last.span.range.end
                        || range.end - last.span.range.start <= SPAN_BYTES) =>
            {
                last.span.range.end = last.span.range.end.max(range.end);
                last.specs.push((spec, range));
            }
            _ => batches.push(Batch {
                span: Span { path: path.to_owned(), range: range.clone() },
                specs: vec![(spec, range)],
            }),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Tensor};
    use crate::weights::{FileDtype, Layout, TensorLocation};

    fn spec(path: &str, range: Range<u64>) -> WeightSpec {
        WeightSpec {
            tensor: Tensor::resident(DType::F32, &[1]),
            component: "transformer".into(),
            key: "k".into(),
            layout: Layout::Flat,
            location: Some(TensorLocation {
                path: path.into(),
                range,
                dtype: FileDtype::F32,
                shape: vec![1],
            }),
        }
    }

    #[test]
    fn neighbours_are_read_together_and_large_tensors_alone() {
        let mib = 1 << 20;
        let specs = [
            spec("b", 5 * mib..6 * mib),
            spec("a", 0..mib),
            spec("b", 0..mib),
            spec("b", 0..mib), // the other half of the same tensor
            spec("b", mib..2 * mib),
            spec("b", 6 * mib..20 * mib),
        ];
        let spans: Vec<_> =
            batches(&specs).into_iter().map(|b| (b.span.path, b.span.range, b.specs.len())).collect();
        assert_eq!(
            spans,
            [
                ("b".to_owned(), 0..2 * mib, 3),
                ("b".to_owned(), 5 * mib..6 * mib, 1),
                ("b".to_owned(), 6 * mib..20 * mib, 1),
                ("a".to_owned(), 0..mib, 1),
            ]
        );
    }
}
