//! The tokenizer that Comfy's safetensors files of UMT5 carry: a `spiece.model`, byte for byte, as the tensor `spiece_model`.
//!
//! It is a protobuf message, SentencePiece's `ModelProto` (<https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>), of
//! which the pieces are read one by one.

use super::TextTokenizer;
use super::charsmap::checked_charsmap;
use super::sentencepiece::{SentencePiece, Settings};
use crate::error::{Error, Result};
use crate::weights::source::exactly;
use crate::weights::{Component, Source, TensorLocation};
use prost::{DecodeError, Message, decode_length_delimiter};

/// Most bytes of a model: several times UMT5's.
const MAX_BYTES: u64 = 16 << 20;

/// The model type of SentencePiece's unigram models.
const UNIGRAM: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    r#type: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "40", default = "0")]
    unk_id: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    eos_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
}

/// A tokenizer in a safetensors file, of which only the place is known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct SpieceTokenizer(TensorLocation);

impl SpieceTokenizer {
    /// The tensor that it is.
    pub const TENSOR: &str = "spiece_model";

    /// The tokenizer of a text encoder's file, if it has one.
    pub fn of(component: &Component) -> Option<Self> {
        component.find(Self::TENSOR).ok().cloned().map(Self)
    }

    /// Reads it.
    ///
    /// Fails with `ArchitectureUnknown` (no unigram model), `FileInvalid` (no such message, ids that no piece has, a damaged character map), and as
    /// [`Source::read`] does.
    pub async fn read(&self, source: &dyn Source) -> Result<TextTokenizer> {
        let Self(TensorLocation { path, range, dtype, .. }) = self;
        let invalid = |reason| Error::FileInvalid { path: path.clone(), reason };
        let bytes = range.end.saturating_sub(range.start);
        if dtype.name() != "U8" || bytes > MAX_BYTES {
            let [name, dtype] = [Self::TENSOR, dtype.name()];
            return Err(invalid(format!("its {name} has {bytes} bytes of the type {dtype}")));
        }
        let bytes = exactly(source, path, range.clone()).await?;
        let damaged = |error: DecodeError| invalid(format!("its {} is damaged: {error}", Self::TENSOR));
        let mut model = SentencePiece::default();
        let (mut trainer, mut normalizer) = (TrainerSpec::default(), NormalizerSpec::default());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let key = decode_length_delimiter(&mut rest).map_err(damaged)?;
            let length = decode_length_delimiter(&mut rest).map_err(damaged)?;
            // Every field is a message, after its length.
            let found = rest.split_at_checked(length).filter(|_| key & 7 == 2);
            let Some((message, after)) = found else {
                return Err(invalid(format!("its {} ends early", Self::TENSOR)));
            };
            match key >> 3 {
                1 => {
                    let piece = Piece::decode(message).map_err(damaged)?;
                    model.push(piece.piece(), piece.score(), piece.r#type()).map_err(invalid)?;
                }
                2 => trainer.merge(message).map_err(damaged)?,
                3 => normalizer.merge(message).map_err(damaged)?,
                _ => {}
            }
            rest = after;
        }
        if trainer.model_type() != UNIGRAM {
            return Err(Error::ArchitectureUnknown {
                path: path.clone(),
                found: format!("a SentencePiece model of type {}", trainer.model_type()),
                supported: "type 1, unigram, or a tokenizer.json beside the file".to_owned(),
            });
        }
        let charsmap = match normalizer.precompiled_charsmap() {
            [] => None,
            map => Some(checked_charsmap(map).map_err(invalid)?),
        };
        let end = usize::try_from(trainer.eos_id());
        let settings = Settings {
            unknown: usize::try_from(trainer.unk_id()).ok(),
            end: end.map_err(|_| invalid(format!("its {} has no end of sequence", Self::TENSOR)))?,
            add_end: true,
            charsmap,
            remove_extra_whitespaces: normalizer.remove_extra_whitespaces(),
            add_space_prefix: normalizer.add_dummy_prefix(),
        };
        model.build(settings).map_err(invalid)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::source::testing::Memory;
    use ::safetensors::{Dtype, serialize, tensor::TensorView};
    use pollster::block_on;
    use proptest::prelude::*;
    use serde::Deserialize;

    const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/wan21/files");

    fn shipped() -> Vec<u8> {
        std::fs::read(format!("{FILES}/spiece.model")).unwrap()
    }

    /// Reads a model as the tensor of a file.
    fn read(model: &[u8], dtype: Dtype) -> Result<TextTokenizer> {
        let tensor = TensorView::new(dtype, vec![model.len()], model).unwrap();
        let source = Memory::with(&[("f", serialize([(SpieceTokenizer::TENSOR, tensor)], None).unwrap())]);
        let component = block_on(Component::open_file(&source, "f")).unwrap();
        block_on(SpieceTokenizer::of(&component).unwrap().read(&source))
    }

    /// A field of a message, after its number and length.
    fn field(number: u8, message: &impl Message) -> Vec<u8> {
        [&[number << 3 | 2][..], &message.encode_length_delimited_to_vec()].concat()
    }

    /// The same ids as the sentencepiece package, which ComfyUI runs.
    #[test]
    fn equals_sentencepiece() {
        #[derive(Deserialize)]
        struct Golden {
            text: String,
            ids: Vec<u32>,
        }
        let golden = std::fs::read(format!("{FILES}/spiece.json")).unwrap();
        let golden: Vec<Golden> = serde_json::from_slice(&golden).unwrap();
        assert!(golden.len() > 40);
        let tokenizer = read(&shipped(), Dtype::U8).unwrap();
        for Golden { text, ids } in golden {
            assert_eq!(tokenizer.encode_cleaned(&text, 512).unwrap().ids, ids, "{text:?}");
        }
    }

    /// What is said last counts, and what is not said is by default.
    #[test]
    fn settings() {
        let piece = |text: &str, r#type| {
            let piece = Piece { piece: Some(text.to_owned()), score: Some(-1.0), r#type };
            field(1, &piece)
        };
        let pieces = [
            piece("<unk>", Some(2)),
            piece("<s>", Some(3)),
            piece("</s>", Some(3)),
            piece("▁", None),
            piece("a", None),
        ];
        let ids = |more: &[u8]| {
            let tokenizer = read(&[&pieces.concat(), more].concat(), Dtype::U8).unwrap();
            tokenizer.encode("ab", 64).unwrap().ids
        };
        assert_eq!(ids(&[]), [3, 4, 0, 2]);
        let normalizer = NormalizerSpec { add_dummy_prefix: Some(false), ..Default::default() };
        assert_eq!(ids(&field(3, &normalizer)), [4, 0, 2]);
        let trainer = TrainerSpec { unk_id: Some(1), eos_id: Some(4), ..Default::default() };
        assert_eq!(ids(&field(2, &trainer)), [3, 4, 1, 4]);
    }

    #[test]
    fn what_is_no_tokenizer() {
        let code = |model: &[u8]| read(model, Dtype::U8).unwrap_err().code();
        let whole = shipped();
        assert_eq!(read(&whole, Dtype::I8).unwrap_err().code(), "file_invalid");
        let with = |trainer: TrainerSpec| [&whole[..], &field(2, &trainer)].concat();
        let bpe = TrainerSpec { model_type: Some(2), ..Default::default() };
        assert_eq!(code(&with(bpe)), "architecture_unknown");
        for id in [-1, 100_000] {
            let trainer = TrainerSpec { eos_id: Some(id), ..Default::default() };
            assert_eq!(code(&with(trainer)), "file_invalid");
        }
        let nan = Piece { score: Some(f32::NAN), ..Default::default() };
        for more in [&[8, 1][..], &[10], &[10, 9, 0], &[255; 20], &field(1, &nan)] {
            assert_eq!(code(&[&whole[..], more].concat()), "file_invalid", "{more:?}");
        }
        assert_eq!(code(&[]), "file_invalid");
    }

    proptest! {
        /// Whatever bytes it has: an error, or a tokenizer whose ids are in its vocabulary.
        #[test]
        fn damaged(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let mut model = shipped();
            for (at, byte) in changes {
                let at = at.index(model.len());
                model[at] = byte;
            }
            if let Ok(found) = read(&model, Dtype::U8)
                && let Ok(tokens) = found.encode("a red ball", 64)
            {
                prop_assert!(tokens.ids.iter().all(|&id| (id as usize) < found.vocab_size()));
            }
        }
    }
}
