//! `manifest.json` of a packed model: a model folder's files in parts that any static host takes, with the SHA-256 of every chunk.
//!
//! Byte `i` of a file is byte `i % part_bytes` of part `i / part_bytes`; chunk `k` begins at byte `k * chunk_bytes` of the file, and no chunk
//! lies in two parts. The loader in JavaScript reads the same (`www/src/weights/manifest.ts`) by the same rules, but for what bounds memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{MAX_VALUES, values};
use crate::error::{Error, Result};

/// Bytes of text that a value has at least, where there are many: a chunk's hash has 67, a part's name some 30, and both take 24 in a list.
const LEAST_TEXT: usize = 16;

/// Longest manifest: a model of 100 GB has less.
pub const MAX_MANIFEST: u64 = 16 << 20;

/// Chunks are held in memory whole.
const CHUNK_BYTES: RangeInclusive<u64> = 1 << 10..=32 << 20;

/// JavaScript's largest whole number; lengths stay below.
const MAX_LENGTH: u64 = (1 << 53) - 1;

/// A packed model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`Manifest::FORMAT`].
    pub format: String,
    /// [`Manifest::VERSION`].
    pub version: u64,
    /// Name to show.
    pub name: String,
    /// What it may be used for, in whoever packed it's words.
    pub licence: Option<String>,
    /// By folder, such as `transformer`.
    pub components: BTreeMap<String, ManifestComponent>,
    /// What the model's `kinetoscope.json` says; empty where it has none.
    pub defaults: Map<String, Value>,
    /// Bytes of every chunk of a file but the last.
    pub chunk_bytes: u64,
    /// Bytes of every part of a file but the last: a multiple of `chunk_bytes`.
    pub part_bytes: u64,
    /// Every file of the model's folder.
    pub files: Vec<ManifestFile>,
}

/// What a component's weights are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestComponent {
    /// Bytes of its weight file.
    pub bytes: u64,
    /// The number format of most of them, such as `q8_0`.
    pub dtype: String,
}

/// A file of the model's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Where it is in the model's folder.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// Where its parts are, from the manifest's own folder.
    pub parts: Vec<String>,
    /// SHA-256 of each chunk, in small hexadecimal digits.
    pub chunks: Vec<String>,
}

impl Manifest {
    /// Where the file lies in a packed model's folder.
    pub const PATH: &str = "manifest.json";

    /// What `format` says.
    pub const FORMAT: &str = "kinetoscope-manifest";

    /// The version that is read and written.
    pub const VERSION: u64 = 1;

    /// Reads and checks all of a manifest; `path` is for the error, [`Error::ManifestInvalid`].
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let invalid = |field: String, reason: String| {
            Err(Error::ManifestInvalid { path: path.to_owned(), field, reason })
        };
        if values(json) > MAX_VALUES + json.len() / LEAST_TEXT {
            return invalid("the file".into(), "has more values than a manifest of its length".into());
        }
        let found: Self = match serde_json::from_slice(json) {
            Ok(found) => found,
            Err(error) => return invalid("the file".into(), format!("cannot be parsed ({error})")),
        };
        match found.fault() {
            Some((field, reason)) => invalid(field, reason),
            None => Ok(found),
        }
    }

    /// The file at this place in the model's folder.
    pub fn file(&self, path: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Field and reason of what cannot be.
    fn fault(&self) -> Option<(String, String)> {
        let fault = |field: &str, reason: String| Some((field.to_owned(), reason));
        if self.format != Self::FORMAT {
            return fault("format", format!("is not {:?}", Self::FORMAT));
        }
        if self.version != Self::VERSION {
            return fault("version", format!("is {}; {} is known", self.version, Self::VERSION));
        }
        if !CHUNK_BYTES.contains(&self.chunk_bytes) {
            let (least, most) = CHUNK_BYTES.into_inner();
            return fault("chunk_bytes", format!("is not from {least} to {most}"));
        }
        let part = self.part_bytes;
        if part == 0 || part > MAX_LENGTH || !part.is_multiple_of(self.chunk_bytes) {
            return fault("part_bytes", "is no multiple of chunk_bytes".into());
        }
        let mut paths = BTreeSet::new();
        self.files.iter().enumerate().find_map(|(index, file)| {
            let (field, reason) = self.file_fault(file).or_else(|| {
                let twice = !paths.insert(&file.path);
                twice.then(|| ("path", "is there twice".to_owned()))
            })?;
            fault(&format!("files[{index}].{field}"), reason)
        })
    }

    fn file_fault(&self, file: &ManifestFile) -> Option<(&'static str, String)> {
        let parts = file.bytes.div_ceil(self.part_bytes);
        let chunks = file.bytes.div_ceil(self.chunk_bytes);
        let hash = |text: &String| {
            text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let (field, reason) = if !is_inside(&file.path) {
            ("path", "is no path inside the folder".to_owned())
        } else if file.bytes > MAX_LENGTH {
            ("bytes", "is no length".to_owned())
        } else if !file.parts.iter().all(|part| is_inside(part)) {
            ("parts", "are not paths inside the folder".to_owned())
        } else if file.parts.len() as u64 != parts {
            ("parts", format!("are {}, not {parts} as the file has", file.parts.len()))
        } else if !file.chunks.iter().all(hash) {
            ("chunks", "are not SHA-256 in hexadecimal".to_owned())
        } else if file.chunks.len() as u64 != chunks {
            ("chunks", format!("are {}, not {chunks} as the file has", file.chunks.len()))
        } else {
            return None;
        };
        Some((field, reason))
    }
}

/// No scheme, no slash in front, no way up; a backslash is one to browsers.
fn is_inside(path: &str) -> bool {
    !path.contains(['\\', ':', '?', '#']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        let hash = "0f".repeat(32);
        json!({
            "format": "kinetoscope-manifest", "version": 1, "name": "tiny", "licence": null,
            "components": {"transformer": {"bytes": 5000, "dtype": "q8_0"}}, "defaults": {"steps": 3},
            "chunk_bytes": 1024, "part_bytes": 4096, "more": "is ignored",
            "files": [
                {"path": "transformer/model.gguf", "bytes": 5000, "parts": ["parts/a.bin", "parts/b.bin"],
                 "chunks": [hash, hash, hash, hash, hash]},
                {"path": "empty", "bytes": 0, "parts": [], "chunks": []},
            ],
        })
    }

    #[test]
    fn a_good_one_is_read_and_written() {
        let found = Manifest::parse("m", good().to_string().as_bytes()).unwrap();
        assert_eq!(found.file("transformer/model.gguf").unwrap().bytes, 5000);
        assert_eq!(found.file("transformer"), None);
        assert_eq!(found.defaults["steps"], json!(3));
        let again = Manifest::parse("m", &serde_json::to_vec(&found).unwrap()).unwrap();
        assert_eq!(again, found);
    }

    #[test]
    fn hostile_ones_are_refused() {
        for (at, value, field) in [
            ("/format", json!("kinetoscope"), "format"),
            ("/version", json!(2), "version"),
            ("/chunk_bytes", json!(0), "chunk_bytes"),
            ("/chunk_bytes", json!(1023), "chunk_bytes"),
            ("/chunk_bytes", json!(1u64 << 40), "chunk_bytes"),
            ("/part_bytes", json!(0), "part_bytes"),
            ("/part_bytes", json!(4097), "part_bytes"),
            ("/part_bytes", json!(1u64 << 60), "part_bytes"),
            ("/files/0/path", json!("../model.gguf"), "files[0].path"),
            ("/files/0/path", json!("/etc/passwd"), "files[0].path"),
            ("/files/0/path", json!(""), "files[0].path"),
            ("/files/1/path", json!("transformer/model.gguf"), "files[1].path"),
            ("/files/0/bytes", json!(u64::MAX), "files[0].bytes"),
            ("/files/0/bytes", json!(4096), "files[0].parts"),
            ("/files/0/bytes", json!(5121), "files[0].chunks"),
            ("/files/0/parts/1", json!("https://example.org/b.bin"), "files[0].parts"),
            ("/files/0/parts/1", json!("parts/../../b.bin"), "files[0].parts"),
            ("/files/0/parts/1", json!("parts\\b.bin"), "files[0].parts"),
            ("/files/0/parts/1", json!("b.bin?"), "files[0].parts"),
            ("/files/0/parts", json!([]), "files[0].parts"),
            ("/files/0/chunks/0", json!("0F".repeat(32)), "files[0].chunks"),
            ("/files/0/chunks/0", json!("é".repeat(32)), "files[0].chunks"),
            ("/files/0/chunks", json!([]), "files[0].chunks"),
            ("/files/0/bytes", json!(-1), "the file"),
            ("/files", json!({}), "the file"),
            ("/name", json!(null), "the file"),
        ] {
            let mut document = good();
            *document.pointer_mut(at).unwrap() = value.clone();
            let error = Manifest::parse("m", document.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.code(), "manifest_invalid", "{at} {value}");
            let Error::ManifestInvalid { field: found, .. } = error else { panic!("{error}") };
            assert_eq!(found, field, "{at} {value}");
        }
        assert_eq!(Manifest::parse("m", b"<html>").unwrap_err().code(), "manifest_invalid");
        // Names of nothing would take eight times their text.
        let mut document = good();
        document["files"][0]["parts"] = json!(vec![""; 10_000]);
        let error = Manifest::parse("m", document.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("values"), "{error}");
    }
}
