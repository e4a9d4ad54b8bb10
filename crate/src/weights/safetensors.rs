//! Safetensors files by their headers: where each tensor lies, without reading it.
//!
//! Format: <https://github.com/huggingface/safetensors>. The `safetensors` crate's own reader wants the whole file, and its
//! offsets are `usize`: in wasm it refuses the 5 GB parts that large encoders come in. Its number formats are used.

use super::metadata::{MetaValue, Metadata};
use super::source::{Source, exactly, invalid, truncated};
use super::stored::{FileDtype, TensorLocation};
use crate::error::Result;
use ::safetensors::Dtype;
use arrayvec::ArrayVec;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::StrDeserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Range;

/// Bytes before the header: its length.
const PREFIX: u64 = 8;

/// Longest header: some hundred thousand tensors. The format allows 100 MB, which would be much to take on trust.
const MAX_HEADER: u64 = 16 << 20;

/// Most dimensions of a tensor; convolutions of video models have five.
const MAX_DIMS: usize = 8;

/// The header of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct SafetensorsHeader {
    /// Every tensor by its checkpoint key.
    pub tensors: BTreeMap<String, TensorLocation>,
    /// What the file says of itself: text by name.
    pub metadata: Metadata,
}

#[derive(Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: ArrayVec<usize, MAX_DIMS>,
    data_offsets: (u64, u64),
}

/// The header's JSON object: tensors and the free-form `__metadata__`. A name that comes twice is an error.
struct Entries(BTreeMap<String, TensorInfo>, Metadata);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                let mut metadata = Metadata::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        // The format has text alone; what some writers put there besides is passed over.
                        let found: Option<BTreeMap<String, &'de RawValue>> = map.next_value()?;
                        let texts = found.into_iter().flatten().filter_map(|(key, value)| {
                            Some((key, MetaValue::Text(serde_json::from_str(value.get()).ok()?)))
                        });
                        metadata.0.extend(texts);
                        continue;
                    }
                    match entries.entry(name) {
                        Entry::Vacant(place) => place.insert(map.next_value()?),
                        Entry::Occupied(place) => {
                            let message = format_args!("tensor {} is there twice", place.key());
                            return Err(serde::de::Error::custom(message));
                        }
                    };
                }
                Ok(Entries(entries, metadata))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

impl SafetensorsHeader {
    /// Reads the header of the file at `path`, and nothing else of it.
    ///
    /// Fails as [`Source::read`] and as [`SafetensorsHeader::parse`] do.
    pub async fn read(source: &dyn Source, path: &str) -> Result<Self> {
        let size = source.size(path).await?;
        let header = Self::range(path, &exactly(source, path, 0..size.min(PREFIX)).await?, size)?;
        Self::parse(path, &exactly(source, path, header).await?, size)
    }

    /// Where the header's JSON lies, from the file's first eight bytes and its size.
    ///
    /// Fails with `FileTruncated` (the file is shorter than its header) or `FileInvalid` (a header longer than any).
    pub fn range(path: &str, prefix: &[u8], file_size: u64) -> Result<Range<u64>> {
        let prefix = prefix
            .first_chunk::<8>()
            .ok_or_else(|| truncated(path, PREFIX, file_size.min(prefix.len() as u64)))?;
        let length = u64::from_le_bytes(*prefix);
        if length > MAX_HEADER {
            return Err(invalid(path, format!("a header of {length} bytes: this is no safetensors file")));
        }
        let end = PREFIX + length;
        if end > file_size {
            return Err(truncated(path, end, file_size));
        }
        Ok(PREFIX..end)
    }

    /// The header from its JSON, without the eight bytes before it; `file_size` is the whole file's.
    ///
    /// Fails with `FileInvalid` (no such JSON, tensors that overlap, leave gaps or are not as long as their shape, a file
    /// that is too long) or `FileTruncated` (tensors beyond the file's end).
    pub fn parse(path: &str, header: &[u8], file_size: u64) -> Result<Self> {
        let Entries(entries, metadata) =
            serde_json::from_slice(header).map_err(|e| invalid(path, e.to_string()))?;
        let start = PREFIX + header.len() as u64;
        let mut tensors = BTreeMap::new();
        let mut offsets = Vec::with_capacity(entries.len());
        for (name, info) in entries {
            let (begin, end) = info.data_offsets;
            let dtype = FileDtype::from_name(info.dtype);
            if let Err(reason) = check_length(&dtype, &info.shape, info.data_offsets) {
                return Err(invalid(path, format!("tensor {name} {reason}")));
            }
            let Some(range_end) = start.checked_add(end) else {
                return Err(invalid(path, format!("tensor {name} ends at byte {end}")));
            };
            let range = start + begin..range_end;
            offsets.push((begin, end));
            tensors.insert(
                name,
                TensorLocation { path: path.to_owned(), range, dtype, shape: info.shape.to_vec() },
            );
        }
        check_coverage(path, start, offsets, file_size)?;
        Ok(Self { tensors, metadata })
    }
}

/// Bits of an element; `None` for a format that the safetensors crate does not know either.
fn bits(dtype: &FileDtype) -> Option<u64> {
    let name: StrDeserializer<'_, serde::de::value::Error> =
        serde::de::IntoDeserializer::into_deserializer(dtype.name());
    Dtype::deserialize(name).ok().map(|dtype| dtype.bitsize() as u64)
}

/// Whether the bytes are there that the shape asks for; a format nobody knows is believed.
fn check_length(
    dtype: &FileDtype,
    shape: &[usize],
    (begin, end): (u64, u64),
) -> std::result::Result<(), String> {
    let length = end.checked_sub(begin).ok_or_else(|| format!("ends at byte {end}, before its start"))?;
    let elements = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent as u64));
    let too_large = || format!("has the shape {shape:?}, too large for any file");
    let elements = elements.ok_or_else(too_large)?;
    let Some(bits) = bits(dtype) else { return Ok(()) };
    let bits = elements.checked_mul(bits).ok_or_else(too_large)?;
    if !bits.is_multiple_of(8) || bits / 8 != length {
        return Err(format!("has {length} bytes, not those of {} and the shape {shape:?}", dtype.name()));
    }
    Ok(())
}

/// The tensors have to cover all that follows the header, once.
fn check_coverage(path: &str, start: u64, mut offsets: Vec<(u64, u64)>, file_size: u64) -> Result<()> {
    offsets.sort_unstable();
    let mut covered = 0;
    for (begin, end) in offsets {
        if begin != covered {
            let what = if begin < covered { "tensors overlap" } else { "no tensor has the bytes" };
            return Err(invalid(path, format!("{what} between {covered} and {begin} after the header")));
        }
        covered = end;
    }
    let expected = start.saturating_add(covered);
    match file_size {
        _ if file_size < expected => Err(truncated(path, expected, file_size)),
        _ if file_size > expected => {
            Err(invalid(path, format!("{} bytes follow the last tensor", file_size - expected)))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
pub(super) mod tests {
    use super::*;
    use crate::weights::source::testing::Memory;
    use ::safetensors::{serialize, tensor::TensorView};
    use pollster::block_on;
    use proptest::prelude::*;
    use serde_json::json;

    /// A file with an f32 tensor of 2 x 3 and a bf16 tensor of 4, values 0, 1, 2, ... by byte.
    pub(crate) fn small_file(first: &str, second: &str) -> Vec<u8> {
        let data: Vec<u8> = (0..32).collect();
        let tensors = [
            (first, TensorView::new(Dtype::F32, vec![2, 3], &data[..24]).unwrap()),
            (second, TensorView::new(Dtype::BF16, vec![4], &data[24..]).unwrap()),
        ];
        serialize(tensors, None).unwrap()
    }

    fn file_of(header: &serde_json::Value, data: usize) -> Vec<u8> {
        let header = header.to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    fn code(file: Vec<u8>) -> &'static str {
        let source = Memory::with(&[("f", file)]);
        block_on(SafetensorsHeader::read(&source, "f")).unwrap_err().code()
    }

    #[test]
    fn truncated_files() {
        let file = small_file("a", "b");
        for length in 0..file.len() {
            assert_eq!(code(file[..length].to_vec()), "file_truncated", "{length}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert_eq!(code(longer), "file_invalid");
    }

    #[test]
    fn hostile_headers() {
        for (header, data) in [
            (json!([]), 0),
            (json!({"a": 1}), 0),
            (json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}), 8),
            (json!({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}), 8),
            (json!({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}), 8),
            (json!({"a": {"dtype": "F32", "shape": [1, 1, 1, 1, 1, 1, 1, 1, 2], "data_offsets": [0, 8]}}), 8),
            (json!({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}), 1),
            (json!({"a": {"dtype": "F32", "shape": [1u64 << 62, 4], "data_offsets": [0, 0]}}), 0),
            (json!({"a": {"dtype": "F32", "shape": [1u64 << 62], "data_offsets": [0, 0]}}), 0),
            (json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}), 8),
            (json!({"a": {"dtype": "X", "shape": [1], "data_offsets": [0, u64::MAX]}}), 8),
            (
                json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                    "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
                4,
            ),
            (
                json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                    "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}),
                12,
            ),
        ] {
            assert_eq!(code(file_of(&header, data)), "file_invalid", "{header}");
        }
        let far = json!({"a": {"dtype": "U8", "shape": [1u64 << 40], "data_offsets": [0, 1u64 << 40]}});
        assert_eq!(code(file_of(&far, 8)), "file_truncated");
        for length in [u64::MAX, u64::MAX - 7, MAX_HEADER + 1] {
            assert_eq!(code([&length.to_le_bytes()[..], b"{}"].concat()), "file_invalid");
        }
        let one = r#""a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}"#;
        let twice = format!("{{{one}, {one}}}");
        let twice = [&(twice.len() as u64).to_le_bytes()[..], twice.as_bytes(), b"0"].concat();
        assert_eq!(code(twice), "file_invalid");
        // Deep nesting ends in the parser's own limit, not in the stack's.
        let deep = "[".repeat(1 << 20);
        assert_eq!(code([&(deep.len() as u64).to_le_bytes()[..], deep.as_bytes()].concat()), "file_invalid");
    }

    #[test]
    fn large_offsets_and_unknown_formats() {
        // 5 GB parts exist; only the header is there.
        let bytes = 5_000_000_000u64;
        let header = json!({
            "__metadata__": {"format": "pt", "step": 3, "more": {"a": []}},
            "a": {"dtype": "BF16", "shape": [bytes / 2], "data_offsets": [0, bytes]},
            "b": {"dtype": "Q9", "shape": [2], "data_offsets": [bytes, bytes + 3]},
        })
        .to_string();
        let size = 8 + header.len() as u64 + bytes + 3;
        let found = SafetensorsHeader::parse("f", header.as_bytes(), size).unwrap();
        assert_eq!(found.tensors["a"].range.end, 8 + header.len() as u64 + bytes);
        assert_eq!(found.tensors["b"].dtype, FileDtype::Other("Q9".to_owned()));
        assert_eq!(found.metadata.text("format"), Some("pt"));
    }

    proptest! {
        /// Whatever a few bytes are changed to: an error, or tensors inside the file.
        #[test]
        fn mutated_headers(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut file = small_file("blocks.0.weight", "blocks.0.bias");
            let header = file.len() - 32;
            for (at, byte) in changes {
                let at = at.index(header);
                file[at] = byte;
            }
            let size = file.len() as u64;
            match block_on(SafetensorsHeader::read(&Memory::with(&[("f", file)]), "f")) {
                Ok(found) => for location in found.tensors.values() {
                    prop_assert!(location.range.start <= location.range.end && location.range.end <= size);
                },
                Err(e) => prop_assert!(matches!(e.code(), "file_invalid" | "file_truncated"), "{}", e),
            }
        }

        #[test]
        fn any_numbers(shape: Vec<u64>, begin: u64, end: u64, extra in 0usize..64) {
            let header = json!({"a": {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}});
            let _ = block_on(SafetensorsHeader::read(&Memory::with(&[("f", file_of(&header, extra))]), "f"));
        }
    }
}
