//! A prompt on its way into the text encoder, and what came out of it before.

use std::collections::{BTreeMap, VecDeque};

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

/// Prompts whose encoding is remembered.
const REMEMBERED: usize = 16;

/// The text encoder's last results: a film's windows mostly have the same prompts, and the encoder may have left the device.
#[derive(Debug, Default)]
pub(super) struct EncodedPrompts {
    /// Token ids, and their hidden states `[tokens, d_model]` as f32 bytes; the latest last.
    known: VecDeque<(Vec<u32>, Vec<u8>)>,
}

impl EncodedPrompts {
    /// The hidden states of these tokens.
    pub(super) fn get(&self, ids: &[u32]) -> Option<Vec<u8>> {
        self.known.iter().find(|(known, _)| known == ids).map(|(_, hidden)| hidden.clone())
    }

    /// Remembers them, and forgets the oldest.
    pub(super) fn keep(&mut self, ids: &[u32], hidden: Vec<u8>) {
        if self.known.len() >= REMEMBERED {
            self.known.pop_front();
        }
        self.known.push_back((ids.to_vec(), hidden));
    }
}
