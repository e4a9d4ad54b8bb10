//! From the files onto the device, a few megabytes at a time.

use std::collections::HashMap;
use std::ops::Range;

use futures_util::stream::{self, StreamExt};

use super::scope::WeightSpec;
use super::source::{Source, Span};
use super::stored::TensorLocation;
use crate::executor::Executor;
use crate::{CancelFlag, Error, Result};

/// Neighbouring tensors are read together up to this many bytes; a larger tensor is read alone.
const SPAN_BYTES: u64 = 4 << 20;

/// Unneeded bytes between two tensors that are read along rather than asked around.
const GAP_BYTES: u64 = 64 << 10;

/// Reads under way at once.
const PARALLEL_READS: usize = 3;

/// As many of what is only fetched, and not held here: several spans are of one chunk of what fetches.
const PARALLEL_FETCHES: usize = 10;

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
struct Batch {
    span: Span,
    /// Places in the list of specs, and the bytes for each.
    wanted: Vec<(usize, Range<u64>)>,
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
    let located = |location: fn(&WeightSpec) -> Option<&TensorLocation>| {
        batches(specs.iter().enumerate().filter_map(move |(index, spec)| Some((index, location(spec)?))))
    };
    // What weights are multiplied with comes before them.
    let scales = located(|spec| spec.scale.as_ref());
    let mut scale_batches = scales.len();
    let batches: Vec<Batch> = scales.into_iter().chain(located(|spec| spec.location.as_ref())).collect();
    let spans: Vec<Span> = batches.iter().map(|b| b.span.clone()).collect();
    source.plan(&spans);
    let total = spans.iter().map(|s| s.range.end - s.range.start).sum();
    let mut loaded = 0;
    let mut scales = HashMap::new();
    let mut reads = stream::iter(batches)
        .map(|batch| async move {
            let bytes = source.read(&batch.span.path, batch.span.range.clone()).await;
            (batch, bytes)
        })
        .buffered(PARALLEL_READS);
    while let Some((batch, bytes)) = reads.next().await {
        cancel.check()?;
        let bytes = bytes?;
        let mut component = "";
        for (index, range) in &batch.wanted {
            let Some(spec) = specs.get(*index) else { continue };
            component = &spec.component;
            let bytes = slice(&bytes, range, &batch.span)?;
            if scale_batches > 0 {
                scales.insert(*index, scale(spec, bytes)?);
            } else {
                upload(spec, bytes, scales.get(index).copied(), executor)?;
            }
        }
        scale_batches = scale_batches.saturating_sub(1);
        loaded += bytes.len() as u64;
        on_progress(LoadProgress { component: component.to_owned(), loaded, total });
    }
    Ok(())
}

/// Has every weight brought to where `source` keeps what it fetches, if it does, without reading it here.
///
/// # Errors
/// What the source reports, [`Error::Cancelled`].
pub async fn fetch_weights(
    specs: &[WeightSpec],
    source: &dyn Source,
    cancel: &CancelFlag,
    on_progress: &mut dyn FnMut(LoadProgress),
) -> Result<()> {
    let component = |index: &usize| specs.get(*index).map_or("", |spec| &spec.component);
    let batches =
        batches(specs.iter().enumerate().filter_map(|(i, spec)| Some((i, spec.location.as_ref()?))));
    source.plan(&batches.iter().map(|b| b.span.clone()).collect::<Vec<_>>());
    let total = batches.iter().map(|b| b.span.range.end - b.span.range.start).sum();
    let mut loaded = 0;
    let fetch = |batch: Batch| async move { source.fetch(&batch.span).await.map(|()| batch) };
    let mut fetches = stream::iter(batches).map(fetch).buffered(PARALLEL_FETCHES);
    while let Some(batch) = fetches.next().await {
        cancel.check()?;
        let batch = batch?;
        loaded += batch.span.range.end - batch.span.range.start;
        let component = batch.wanted.first().map_or("", |(index, _)| component(index)).to_owned();
        on_progress(LoadProgress { component, loaded, total });
    }
    Ok(())
}

fn upload(spec: &WeightSpec, bytes: &[u8], scale: Option<f32>, executor: &Executor) -> Result<()> {
    let Some(location) = &spec.location else { return Ok(()) };
    check_finite(spec, location, bytes)?;
    executor.upload(&spec.tensor, &spec.layout.repack(bytes, &location.dtype, &location.shape, scale))
}

fn scale(spec: &WeightSpec, bytes: &[u8]) -> Result<f32> {
    let Some(location) = &spec.scale else { return Ok(1.0) };
    check_finite(spec, location, bytes)?;
    Ok(location.dtype.to_f32(bytes).first().copied().unwrap_or(1.0))
}

fn check_finite(spec: &WeightSpec, location: &TensorLocation, bytes: &[u8]) -> Result<()> {
    match location.dtype.first_not_finite(bytes) {
        None => Ok(()),
        Some(index) => {
            Err(Error::TensorNotFinite { component: spec.component.clone(), tensor: spec.key.clone(), index })
        }
    }
}

fn slice<'a>(bytes: &'a [u8], range: &Range<u64>, span: &Span) -> Result<&'a [u8]> {
    let local = range.start - span.range.start..range.end - span.range.start;
    bytes.get(local.start as usize..local.end as usize).ok_or_else(|| Error::FileTruncated {
        path: span.path.clone(),
        expected: span.range.end,
        found: span.range.start + bytes.len() as u64,
    })
}

fn batches<'a>(wanted: impl Iterator<Item = (usize, &'a TensorLocation)>) -> Vec<Batch> {
    let mut located: Vec<_> = wanted.map(|(index, l)| (index, l.path.as_str(), l.range.clone())).collect();
    // Files keep the order of the components, so that progress names one after the other.
    let mut order = HashMap::new();
    for (_, path, _) in &located {
        let next = order.len();
        order.entry(*path).or_insert(next);
    }
    located.sort_by_key(|(_, path, range)| (order.get(path).copied(), range.start));
    let mut batches: Vec<Batch> = Vec::new();
    for (index, path, range) in located {
        match batches.last_mut() {
            Some(last)
                if last.span.path == path
                    && range.start <= last.span.range.end + GAP_BYTES
                    && (range.end <= last.span.range.end
                        || range.end - last.span.range.start <= SPAN_BYTES) =>
            {
                last.span.range.end = last.span.range.end.max(range.end);
                last.wanted.push((index, range));
            }
            _ => batches.push(Batch {
                span: Span { path: path.to_owned(), range: range.clone() },
                wanted: vec![(index, range)],
            }),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::FileDtype;

    fn at(path: &str, range: Range<u64>) -> TensorLocation {
        TensorLocation { path: path.into(), range, dtype: FileDtype::F32, shape: vec![1] }
    }

    #[test]
    fn neighbours_are_read_together_and_large_tensors_alone() {
        let mib = 1 << 20;
        let tensors = [
            at("b", 5 * mib..6 * mib),
            at("a", 0..mib),
            at("b", 0..mib),
            at("b", 0..mib), // the other half of the same tensor
            at("b", mib..2 * mib),
            at("b", 6 * mib..20 * mib),
        ];
        let spans: Vec<_> = batches(tensors.iter().enumerate())
            .into_iter()
            .map(|b| (b.span.path, b.span.range, b.wanted.len()))
            .collect();
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
