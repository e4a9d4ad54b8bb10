//! A packed model as a model folder: the files that its manifest names, out of their parts.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

use futures_util::future::LocalBoxFuture;
use sha2::{Digest, Sha256};

use super::manifest::{MAX_MANIFEST, Manifest, ManifestFile};
use super::source::{Source, exactly, read_all, truncated};
use crate::error::{Error, Result};

/// A folder with a `manifest.json` and the parts that it names. Each chunk is checked against its hash before anything of it is used, once.
pub struct PackedSource {
    folder: Box<dyn Source>,
    manifest: Manifest,
    /// Chunks that were right, by path and number.
    checked: RefCell<HashSet<(String, u64)>>,
}

impl PackedSource {
    /// Reads the manifest.
    ///
    /// Fails as [`Manifest::parse`] and [`Source::read`] do.
    pub async fn open(folder: Box<dyn Source>) -> Result<Self> {
        let json = read_all(&*folder, Manifest::PATH, MAX_MANIFEST).await?;
        let manifest = Manifest::parse(Manifest::PATH, &json)?;
        Ok(Self { folder, manifest, checked: RefCell::default() })
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn file(&self, path: &str) -> Result<&ManifestFile> {
        self.manifest.file(path).ok_or_else(|| Error::FileMissing { path: path.to_owned() })
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let file = self.file(path)?;
        if range.end > file.bytes {
            return Err(truncated(path, range.end, file.bytes));
        }
        let out_of_memory = || Error::OutOfMemory { reason: format!("reading {path}") };
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| out_of_memory())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| out_of_memory())?;
        let chunk_bytes = self.manifest.chunk_bytes;
        let mut at = range.start;
        while at < range.end {
            let chunk = at / chunk_bytes;
            let start = chunk * chunk_bytes;
            let whole = start..(start + chunk_bytes).min(file.bytes);
            let wanted = at..range.end.min(whole.end);
            at = wanted.end;
            if self.checked.borrow().contains(&(file.path.clone(), chunk)) {
                bytes.extend(self.read_part(file, wanted).await?);
                continue;
            }
            let found = self.checked_chunk(file, chunk, whole).await?;
            let inside = (wanted.start - start) as usize..(wanted.end - start) as usize;
            bytes.extend(found.get(inside).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// Bytes of a file that lie in one part.
    async fn read_part(&self, file: &ManifestFile, range: Range<u64>) -> Result<Vec<u8>> {
        let part_bytes = self.manifest.part_bytes;
        let before = range.start / part_bytes * part_bytes;
        let part = self.part(file, range.start)?;
        match exactly(&*self.folder, part, range.start - before..range.end - before).await {
            // The file itself is one that the model has.
            Err(Error::FileMissing { .. }) => {
                let reason = format!("its part {part} is missing; copy it again");
                Err(Error::ReadFailed { path: file.path.clone(), reason })
            }
            other => other,
        }
    }

    /// The part that has byte `at`.
    fn part<'a>(&self, file: &'a ManifestFile, at: u64) -> Result<&'a str> {
        let index = usize::try_from(at / self.manifest.part_bytes).unwrap_or(usize::MAX);
        let part = file.parts.get(index).map(String::as_str);
        part.ok_or_else(|| Error::FileMissing { path: file.path.clone() })
    }

    async fn checked_chunk(&self, file: &ManifestFile, chunk: u64, range: Range<u64>) -> Result<Vec<u8>> {
        let part = self.part(file, range.start)?;
        let bytes = self.read_part(file, range).await?;
        let found = hash(&bytes);
        let index = usize::try_from(chunk).unwrap_or(usize::MAX);
        match file.chunks.get(index) {
            Some(expected) if *expected == found => {
                self.checked.borrow_mut().insert((file.path.clone(), chunk));
                Ok(bytes)
            }
            expected => Err(Error::HashMismatch {
                path: file.path.clone(),
                chunk,
                part: part.to_owned(),
                expected: expected.cloned().unwrap_or_default(),
                found,
            }),
        }
    }
}

/// SHA-256 as a manifest states it.
pub fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Source for PackedSource {
    fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
        Box::pin(async move { self.file(path).map(|file| file.bytes) })
    }

    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(self.read_range(path, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::source::testing::Memory;
    use pollster::block_on;
    use serde_json::json;

    const BYTES: usize = 10_500;

    fn content() -> Vec<u8> {
        (0..BYTES).map(|i| (i * 7 % 251) as u8).collect()
    }

    /// `f` of 10,500 bytes, in chunks of 1 KiB and parts of 4 KiB.
    fn packed() -> Memory {
        let content = content();
        let parts: Vec<_> = content.chunks(4096).map(<[u8]>::to_vec).collect();
        let manifest = json!({
            "format": Manifest::FORMAT, "version": 1, "name": "n", "licence": "MIT", "components": {}, "defaults": {},
            "chunk_bytes": 1024, "part_bytes": 4096,
            "files": [{"path": "f", "bytes": BYTES, "parts": ["p/0", "p/1", "p/2"],
                "chunks": content.chunks(1024).map(hash).collect::<Vec<_>>()}],
        });
        Memory::with(&[
            ("manifest.json", manifest.to_string().into_bytes()),
            ("p/0", parts[0].clone()),
            ("p/1", parts[1].clone()),
            ("p/2", parts[2].clone()),
        ])
    }

    fn open(memory: Memory) -> PackedSource {
        block_on(PackedSource::open(Box::new(memory))).unwrap()
    }

    #[test]
    fn every_range_is_what_it_was() {
        let source = open(packed());
        assert_eq!(block_on(source.size("f")), Ok(BYTES as u64));
        for (start, end) in
            [(0, BYTES), (5, 6), (1000, 1030), (4090, 4100), (4096, 8192), (10_499, BYTES), (7, 7)]
        {
            let found = block_on(source.read("f", start as u64..end as u64)).unwrap();
            assert_eq!(found, content()[start..end], "{start}..{end}");
        }
        assert_eq!(block_on(source.read("f", 0..BYTES as u64 + 1)).unwrap_err().code(), "file_truncated");
        for path in ["p/0", "manifest.json", "g"] {
            assert_eq!(block_on(source.size(path)).unwrap_err().code(), "file_missing");
        }
    }

    #[test]
    fn a_damaged_chunk_is_named_and_the_others_are_read() {
        let mut memory = packed();
        memory.files.get_mut("p/1").unwrap()[2000] ^= 1;
        let source = open(memory);
        let error = block_on(source.read("f", 0..BYTES as u64)).unwrap_err();
        let Error::HashMismatch { path, chunk, part, expected, found } = error else { panic!("{error}") };
        assert_eq!((path.as_str(), chunk, part.as_str()), ("f", 5, "p/1"));
        assert_eq!(expected, hash(&content()[5 * 1024..6 * 1024]));
        assert_ne!(expected, found);
        assert_eq!(block_on(source.read("f", 0..5 * 1024)).unwrap(), content()[..5 * 1024]);
        assert_eq!(block_on(source.read("f", 6200..9000)).unwrap(), content()[6200..9000]);
        assert!(block_on(source.read("f", 5200..5201)).is_err());
    }

    #[test]
    fn a_part_that_is_cut_or_gone() {
        let mut memory = packed();
        memory.files.get_mut("p/2").unwrap().truncate(100);
        memory.files.remove("p/1");
        let source = open(memory);
        assert_eq!(block_on(source.read("f", 8192..8200)).unwrap_err().code(), "file_truncated");
        assert_eq!(block_on(source.read("f", 4096..4100)).unwrap_err().code(), "read_failed");
    }
}
