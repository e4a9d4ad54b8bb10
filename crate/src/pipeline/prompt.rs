//! A prompt's rows of the embedding table, read from the source.

use std::collections::BTreeMap;

use super::architecture::Architecture;
use crate::weights::Source;
use crate::{Error, Result};

/// The embedding rows of `ids` as f32 `[ids, d_model]`: only they are read of a table that may have a gigabyte.
///
/// # Errors
/// What the source reports; [`Error::FileInvalid`] when the tokenizer knows more tokens than the table has rows;
/// [`Error::TensorNotFinite`].
pub(super) async fn embedding_rows(
    architecture: &Architecture,
    source: &dyn Source,
    ids: &[u32],
) -> Result<Vec<f32>> {
    let config = &architecture.configs.text_encoder;
    let Some(location) = &architecture.embedding else {
        return Err(Error::WrongState { call: "encode", reason: "the model was planned, not loaded".into() });
    };
    let Some(row_bytes) = location.dtype.bytes(config.d_model as u64) else {
        return Err(Error::TensorDtype {
            component: "text_encoder".into(),
            tensor: "shared.weight".into(),
            found: location.dtype.name().into(),
        });
    };
    let mut rows = BTreeMap::new();
    for &id in ids {
        if id as usize >= config.vocab_size {
            return Err(Error::FileInvalid {
                path: crate::text::TextTokenizer::PATH.into(),
                reason: format!("token {id} has no row in an embedding table of {} rows", config.vocab_size),
            });
        }
        if rows.contains_key(&id) {
            continue;
        }
        let start = location.range.start + u64::from(id) * row_bytes;
        let bytes = source.read(&location.path, start..start + row_bytes).await?;
        if let Some(index) = location.dtype.first_not_finite(&bytes) {
            return Err(Error::TensorNotFinite {
                component: "text_encoder".into(),
                tensor: "shared.weight".into(),
                index: id as usize * config.d_model + index,
            });
        }
        rows.insert(id, location.dtype.to_f32(&bytes));
    }
    Ok(ids.iter().filter_map(|id| rows.get(id)).flatten().copied().collect())
}
