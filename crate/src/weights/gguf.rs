//! GGUF files by their headers: where each tensor lies, without reading it.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3. The header's length is not written
//! down: it is read in growing pieces. Lists among its metadata stay in the file, their places are kept. Tensors whose rows are no
//! whole blocks are stored flat, their shape beside them as `comfy.gguf.orig_shape.<tensor>`: the convention of the files that
//! people have (ComfyUI-GGUF, `tools/convert.py`).

mod cursor;

pub(crate) use cursor::{ARRAY, FLOAT32, INT8, INT32, STRING, UINT8, UINT32, strings};

use super::metadata::Metadata;
use super::source::{Source, exactly, invalid, truncated};
use super::stored::{FileDtype, TensorLocation};
use crate::error::Result;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cursor::{Cursor, Step, Stop, refuse};

/// First piece of a header: enough for a model without a tokenizer.
const FIRST_READ: u64 = 64 << 10;

/// Longest header: a vocabulary of some hundred thousand pieces has a tenth of it.
const MAX_HEADER: u64 = 256 << 20;

/// Where no `general.alignment` says otherwise, the data begins at a multiple of this.
pub(super) const ALIGNMENT: u64 = 32;

const ALIGNMENT_KEY: &str = "general.alignment";
pub(super) const SHAPE_KEY: &str = "comfy.gguf.orig_shape.";

/// Most entries of metadata; files have some dozens.
const MAX_METADATA: u64 = 1 << 16;

/// Most dimensions of a tensor. ggml has four; convolutions of video models come with five.
const MAX_DIMS: u32 = 8;

/// The header of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Every tensor by its name, shapes outermost first.
    pub tensors: BTreeMap<String, TensorLocation>,
    /// What the file says of itself, without what places tensors.
    pub metadata: Metadata,
}

impl GgufHeader {
    /// Reads the header of the file at `path`, and no more of it than a piece.
    ///
    /// Fails as [`Source::read`] and as [`GgufHeader::parse`] do; with `FileTruncated` where the file ends inside the header.
    pub async fn read(source: &dyn Source, path: &str) -> Result<Self> {
        let size = source.size(path).await?;
        let mut length = size.min(FIRST_READ);
        let mut bytes = Vec::new();
        loop {
            let piece = exactly(source, path, bytes.len() as u64..length).await?;
            bytes.reserve_exact(piece.len());
            bytes.extend(piece);
            if let Some(header) = Self::parse(path, &bytes, size)? {
                return Ok(header);
            }
            if length == size {
                return Err(truncated(path, size + 1, size));
            }
            if length == MAX_HEADER {
                return Err(invalid(path, format!("its header has more than {MAX_HEADER} bytes")));
            }
            length = (length * 4).min(size).min(MAX_HEADER);
        }
    }

    /// The header from the first bytes of a file of `file_size`; `None` where it goes on after them.
    ///
    /// Fails with `FileInvalid` (no GGUF, an unknown version or number format, tensors that overlap or are too large, counts that the
    /// file cannot hold) or `FileTruncated` (tensors beyond the file's end).
    pub fn parse(path: &str, bytes: &[u8], file_size: u64) -> Result<Option<Self>> {
        let mut cursor = Cursor::new(bytes, file_size);
        let entries = match Entries::read(&mut cursor) {
            Ok(entries) => entries,
            Err(Stop::More) => return Ok(None),
            Err(Stop::Invalid(reason)) => return Err(invalid(path, reason)),
        };
        let start = (cursor.at as u64).next_multiple_of(entries.alignment);
        let mut tensors = BTreeMap::new();
        for (name, info) in entries.tensors {
            let shape = match entries.shapes.get(&name) {
                Some(shape) if product(shape) == Some(info.elements) => shape,
                Some(shape) => {
                    let reason =
                        format!("tensor {name} has {} elements and the shape {shape:?}", info.elements);
                    return Err(invalid(path, reason));
                }
                None => &info.shape,
            };
            let shape: Option<Vec<usize>> =
                shape.iter().map(|&extent| usize::try_from(extent).ok()).collect();
            let end = start.checked_add(info.offset).and_then(|begin| begin.checked_add(info.bytes));
            let (Some(shape), Some(end)) = (shape, end) else {
                return Err(invalid(path, format!("tensor {name} is too large for any file")));
            };
            if end > file_size {
                return Err(truncated(path, end, file_size));
            }
            let range = end - info.bytes..end;
            tensors.insert(name, TensorLocation { path: path.to_owned(), range, dtype: info.dtype, shape });
        }
        check_overlap(path, &tensors)?;
        Ok(Some(Self { version: entries.version, tensors, metadata: entries.metadata }))
    }
}

fn check_overlap(path: &str, tensors: &BTreeMap<String, TensorLocation>) -> Result<()> {
    let mut ranges: Vec<_> = tensors.values().map(|t| (t.range.start, t.range.end)).collect();
    ranges.sort_unstable();
    match ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(invalid(path, format!("two tensors hold byte {}", pair[1].0))),
        None => Ok(()),
    }
}

fn product(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent))
}

/// A tensor as its entry describes it.
struct Info {
    /// Outermost first.
    shape: Vec<u64>,
    elements: u64,
    dtype: FileDtype,
    bytes: u64,
    /// From the start of the data.
    offset: u64,
}

/// What is kept of a header.
struct Entries {
    version: u32,
    alignment: u64,
    /// Shapes that stand in the metadata.
    shapes: BTreeMap<String, Vec<u64>>,
    tensors: BTreeMap<String, Info>,
    metadata: Metadata,
}

impl Entries {
    fn read(cursor: &mut Cursor) -> Step<Self> {
        if cursor.array()? != *b"GGUF" {
            return refuse("this is no GGUF file");
        }
        let version = cursor.u32()?;
        if !(2..=3).contains(&version) {
            return refuse(format!("GGUF version {version}; 2 and 3 are supported, little endian"));
        }
        let (tensor_count, metadata_count) = (cursor.u64()?, cursor.u64()?);
        if metadata_count > MAX_METADATA {
            return refuse(format!("it has {metadata_count} entries of metadata"));
        }
        let mut found = Self {
            version,
            alignment: ALIGNMENT,
            shapes: BTreeMap::new(),
            tensors: BTreeMap::new(),
            metadata: Metadata::default(),
        };
        for _ in 0..metadata_count {
            found.metadata(cursor)?;
        }
        for _ in 0..tensor_count {
            let (name, info) = tensor(cursor, found.alignment)?;
            match found.tensors.entry(name) {
                Entry::Vacant(place) => place.insert(info),
                Entry::Occupied(place) => return refuse(format!("tensor {} is there twice", place.key())),
            };
        }
        Ok(found)
    }

    fn metadata(&mut self, cursor: &mut Cursor) -> Step<()> {
        let key = cursor.string()?;
        let kind = cursor.u32()?;
        if key == ALIGNMENT_KEY {
            let alignment = cursor.integer(kind)?;
            if !alignment.is_power_of_two() || alignment > 1 << 20 {
                return refuse(format!("{ALIGNMENT_KEY} is {alignment}"));
            }
            self.alignment = alignment;
        } else if let Some(name) = key.strip_prefix(SHAPE_KEY) {
            if kind != ARRAY {
                return refuse(format!("{key} is no array"));
            }
            let (kind, count) = (cursor.u32()?, cursor.u64()?);
            if count > u64::from(MAX_DIMS) {
                return refuse(format!("{key} has {count} dimensions"));
            }
            let shape: Step<Vec<u64>> = (0..count).map(|_| cursor.integer(kind)).collect();
            self.shapes.insert(name.to_owned(), shape?);
        } else {
            self.metadata.0.insert(key.to_owned(), cursor.value(kind)?);
        }
        Ok(())
    }
}

fn tensor(cursor: &mut Cursor, alignment: u64) -> Step<(String, Info)> {
    let name = cursor.string()?.to_owned();
    let dims = cursor.u32()?;
    if dims > MAX_DIMS {
        return refuse(format!("tensor {name} has {dims} dimensions"));
    }
    let shape: Step<Vec<u64>> = (0..dims).map(|_| cursor.u64()).collect();
    let mut shape = shape?;
    shape.reverse();
    let kind = cursor.u32()?;
    let offset = cursor.u64()?;
    if !offset.is_multiple_of(alignment) {
        return refuse(format!("tensor {name} is at byte {offset}, not at a multiple of {alignment}"));
    }
    let Some((type_name, block, block_bytes)) = ggml_type(kind) else {
        return refuse(format!("tensor {name} has the number format {kind}, which is not known"));
    };
    let Some(elements) = product(&shape) else {
        return refuse(format!("tensor {name} has the shape {shape:?}, too large for any file"));
    };
    if !elements.is_multiple_of(block) {
        return refuse(format!("tensor {name} has {elements} elements, no whole blocks of {type_name}"));
    }
    let Some(bytes) = (elements / block).checked_mul(block_bytes) else {
        return refuse(format!("tensor {name} has the shape {shape:?}, too large for any file"));
    };
    let dtype = FileDtype::from_name(type_name.to_owned());
    Ok((name, Info { shape, elements, dtype, bytes, offset }))
}

/// Name, elements and bytes of a block, by the number in the file (`ggml.h`, `ggml_type`; `ggml-quants.h`).
pub(super) fn ggml_type(kind: u32) -> Option<(&'static str, u64, u64)> {
    Some(match kind {
        0 => ("F32", 1, 4),
        1 => ("F16", 1, 2),
        2 => ("Q4_0", 32, 18),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        8 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        30 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        _ => return None,
    })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::super::blocks::Block;
    use super::super::metadata::MetaValue;
    use super::*;
    use crate::weights::source::testing::Memory;
    use pollster::block_on;
    use proptest::prelude::*;

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn value(key: &str, kind: u32, bytes: &[u8]) -> Vec<u8> {
        [&string(key)[..], &kind.to_le_bytes(), bytes].concat()
    }

    fn list(key: &str, kind: u32, values: &[i32]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes().to_vec(), (values.len() as u64).to_le_bytes().to_vec()].concat();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        value(key, ARRAY, &bytes)
    }

    fn entry(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let mut bytes = [&string(name)[..], &(dims.len() as u32).to_le_bytes()].concat();
        bytes.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        [&bytes[..], &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
    }

    /// A file with these entries, its data aligned to 32 and as long as `data`.
    fn file(metadata: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((metadata.len() as u64).to_le_bytes());
        bytes.extend(metadata.concat());
        bytes.extend(tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }

    /// Five entries.
    fn good_metadata() -> Vec<u8> {
        let words = [4u32.to_le_bytes().to_vec(), string("some")].concat();
        let nested =
            [&ARRAY.to_le_bytes()[..], &1u64.to_le_bytes(), &words[..4], &1u64.to_le_bytes(), &[0; 4]];
        let tokens = [&STRING.to_le_bytes()[..], &2u64.to_le_bytes(), &string("a"), &string("b")];
        [
            value("general.architecture", STRING, &string("wan")),
            value(ALIGNMENT_KEY, 4, &32u32.to_le_bytes()),
            value("nested", ARRAY, &nested.concat()),
            value("tokens", ARRAY, &tokens.concat()),
            list("comfy.gguf.orig_shape.conv", 5, &[2, 4, 1, 2, 2]),
        ]
        .concat()
    }

    fn good() -> Vec<u8> {
        let mut bytes = file(
            &[good_metadata()],
            &[entry("linear", &[32, 3], 8, 0), entry("conv", &[32], 0, 128), entry("odd", &[256], 11, 256)],
            400,
        );
        bytes[16..24].copy_from_slice(&5u64.to_le_bytes());
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<GgufHeader> {
        block_on(GgufHeader::read(&Memory::with(&[("f", bytes)]), "f"))
    }

    #[test]
    fn shapes_are_outermost_first_and_flat_tensors_have_theirs_back() {
        let bytes = good();
        let data = bytes.len() as u64 - 400;
        let found = read(bytes).unwrap().tensors;
        let linear = &found["linear"];
        assert_eq!((&linear.dtype, linear.shape.as_slice()), (&FileDtype::Block(Block::Q8_0), &[3, 32][..]));
        assert_eq!(linear.range, data..data + 102);
        assert_eq!(found["conv"].shape, [2, 4, 1, 2, 2]);
        assert_eq!(found["conv"].range, data + 128..data + 256);
        assert_eq!(found["odd"].dtype, FileDtype::Other("Q3_K".to_owned()));
    }

    #[test]
    fn metadata_is_kept_and_lists_stay_in_the_file() {
        let numbers = [
            value("u8", 0, &[200]),
            value("i8", 1, &[0xff]),
            value("i32", 5, &(-7i32).to_le_bytes()),
            value("u64", 10, &u64::MAX.to_le_bytes()),
            value("i64", 11, &i64::MIN.to_le_bytes()),
            value("f32", 6, &1e-6f32.to_le_bytes()),
            value("f64", 12, &0.25f64.to_le_bytes()),
            value("bool", 7, &[1]),
        ];
        let mut bytes = file(&[numbers.concat(), good_metadata()], &[], 0);
        bytes[16..24].copy_from_slice(&13u64.to_le_bytes());
        let found = read(bytes.clone()).unwrap();
        assert_eq!(found.version, 3);
        let metadata = found.metadata;
        for (key, expected) in
            [("u8", 200), ("i8", -1), ("i32", -7), ("u64", i128::from(u64::MAX)), ("i64", i64::MIN.into())]
        {
            assert_eq!(metadata.0[key], MetaValue::Integer(expected), "{key}");
        }
        assert_eq!((metadata.float("f32"), metadata.float("f64")), (Some(1e-6), Some(0.25)));
        assert_eq!(
            (metadata.bool("bool"), metadata.size("u8"), metadata.size("i8")),
            (Some(true), Some(200), None)
        );
        assert_eq!(metadata.text("general.architecture"), Some("wan"));
        let tokens = metadata.array("tokens").unwrap();
        assert_eq!((tokens.kind, tokens.count), (STRING, 2));
        let values = &bytes[tokens.range.start as usize..tokens.range.end as usize];
        let read = |count| strings("f", values, count).collect::<Result<Vec<_>>>();
        assert_eq!(read(2).unwrap(), ["a", "b"]);
        assert_eq!(read(3).unwrap_err().code(), "file_invalid");
        assert_eq!(read(u64::MAX).unwrap_err().code(), "file_invalid");
        assert!(metadata.0.keys().all(|key| key != ALIGNMENT_KEY && !key.starts_with(SHAPE_KEY)));
    }

    #[test]
    fn a_header_longer_than_the_first_piece_is_read_on() {
        let vocabulary: Vec<u8> = (0..30_000).flat_map(|i| string(&format!("piece {i}"))).collect();
        let tokens = [&STRING.to_le_bytes()[..], &30_000u64.to_le_bytes(), &vocabulary].concat();
        let bytes = file(&[value("tokenizer.ggml.tokens", ARRAY, &tokens)], &[entry("a", &[4], 0, 0)], 16);
        assert!(bytes.len() as u64 > 4 * FIRST_READ);
        let end = bytes.len() as u64;
        assert_eq!(read(bytes).unwrap().tensors["a"].range, end - 16..end);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = good();
        let whole = read(bytes.clone()).unwrap().tensors.values().map(|t| t.range.end).max().unwrap();
        for length in 0..whole as usize {
            let code = read(bytes[..length].to_vec()).unwrap_err().code();
            assert!(matches!(code, "file_truncated" | "file_invalid"), "{length}: {code}");
        }
    }

    #[test]
    fn hostile_headers() {
        let tensor = |dims: &[u64], kind, offset| file(&[], &[entry("t", dims, kind, offset)], 64);
        let counts = |tensors: u64, metadata: u64| {
            [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &metadata.to_le_bytes()].concat()
        };
        let deep = (0..10_000).flat_map(|_| [&ARRAY.to_le_bytes()[..], &1u64.to_le_bytes()].concat());
        let long_array = [&4u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
        for (name, bytes) in [
            ("another magic", b"GGML\x03\0\0\0 and more that does not matter".to_vec()),
            ("version 1", [&b"GGUF"[..], &1u32.to_le_bytes(), &[0; 16]].concat()),
            ("big endian", [&b"GGUF"[..], &3u32.to_be_bytes(), &[0; 16]].concat()),
            ("tensors that are not there", counts(u64::MAX, 0)),
            ("metadata that is not there", counts(0, u64::MAX)),
            ("a long name", [counts(0, 1), u64::MAX.to_le_bytes().to_vec()].concat()),
            ("a long array", file(&[value("k", ARRAY, &long_array)], &[], 0)),
            ("arrays in arrays", file(&[value("k", ARRAY, &deep.collect::<Vec<_>>())], &[], 0)),
            ("an unknown value", file(&[value("k", 77, &[])], &[], 0)),
            ("an alignment of 3", file(&[value(ALIGNMENT_KEY, 4, &3u32.to_le_bytes())], &[], 0)),
            ("an alignment of text", file(&[value(ALIGNMENT_KEY, STRING, &string("32"))], &[], 0)),
            (
                "a negative extent",
                file(&[list("comfy.gguf.orig_shape.t", 5, &[-4])], &[entry("t", &[4], 0, 0)], 16),
            ),
            (
                "another shape",
                file(&[list("comfy.gguf.orig_shape.t", 5, &[5])], &[entry("t", &[4], 0, 0)], 16),
            ),
            (
                "a name that is no text",
                file(&[], &[[1u64.to_le_bytes().to_vec(), vec![0xff; 64]].concat()], 0),
            ),
            ("many dimensions", tensor(&[1; 9], 0, 0)),
            ("a product above 64 bits", tensor(&[1 << 40, 1 << 40], 0, 0)),
            ("bytes above 64 bits", tensor(&[1 << 63], 0, 0)),
            ("an offset above 64 bits", tensor(&[4], 0, u64::MAX - 31)),
            ("half a block", tensor(&[48], 8, 0)),
            ("an unknown format", tensor(&[4], 1000, 0)),
            ("an odd offset", tensor(&[4], 0, 4)),
            ("the same name twice", file(&[], &[entry("t", &[4], 0, 0), entry("t", &[4], 0, 32)], 64)),
            ("overlapping tensors", file(&[], &[entry("t", &[16], 0, 0), entry("u", &[4], 0, 32)], 64)),
        ] {
            assert_eq!(read(bytes).unwrap_err().code(), "file_invalid", "{name}");
        }
        assert_eq!(read(tensor(&[64], 0, 0)).unwrap_err().code(), "file_truncated");
    }

    proptest! {
        /// Whatever a few bytes are changed to: an error, or tensors inside the file.
        #[test]
        fn mutated_headers(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = good();
            let header = bytes.len() - 400;
            for (at, byte) in changes {
                let at = at.index(header);
                bytes[at] = byte;
            }
            let size = bytes.len() as u64;
            match read(bytes) {
                Ok(found) => for location in found.tensors.values() {
                    prop_assert!(location.range.start <= location.range.end && location.range.end <= size);
                    let elements = location.shape.iter().map(|&e| e as u64).product();
                    let bytes = location.dtype.bytes(elements);
                    prop_assert!(bytes.is_none_or(|b| b == location.range.end - location.range.start));
                },
                Err(e) => prop_assert!(matches!(e.code(), "file_invalid" | "file_truncated"), "{}", e),
            }
        }

        #[test]
        fn noise(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read([&b"GGUF\x03\0\0\0"[..], &bytes].concat());
        }
    }
}
