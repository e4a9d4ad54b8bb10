//! Where a model folder's bytes come from: a directory, a server, the browser's storage.
//!
//! The library asks for byte ranges of files by their path inside the folder and never holds a whole weight file.

use crate::error::{Error, Result};
use futures_util::future::LocalBoxFuture;
use std::ops::Range;

/// A range of a file that is going to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Path inside the model folder, with `/` between its parts.
    pub path: String,
    /// Bytes from the file's start.
    pub range: Range<u64>,
}

/// A model folder to read from. Paths are relative, with `/` between their parts; nothing runs on another thread.
pub trait Source {
    /// Length of a file in bytes.
    ///
    /// Fails with `FileMissing` if there is none, or `ReadFailed`.
    fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>>;

    /// The bytes of `range`, all of them.
    ///
    /// Fails with `FileMissing`, with `FileTruncated` if the file ends before the range does, or with `ReadFailed`.
    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>>;

    /// Brings a range to where it is read from next time, where that is another place than it comes from: from a server into the browser's
    /// storage.
    ///
    /// Fails as [`Source::read`] does.
    fn fetch<'a>(&'a self, _span: &'a Span) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Told what is going to be read, in that order, so that a slow source can fetch ahead.
    fn plan(&self, _spans: &[Span]) {}
}

/// A whole file of at most `limit` bytes, such as a config.
///
/// Fails as [`Source::read`] does, and with `FileInvalid` if the file is longer.
pub async fn read_all(source: &dyn Source, path: &str, limit: u64) -> Result<Vec<u8>> {
    let size = source.size(path).await?;
    if size > limit {
        let reason = format!("it has {size} bytes, at most {limit} are expected");
        return Err(Error::FileInvalid { path: path.to_owned(), reason });
    }
    source.read(path, 0..size).await
}

/// Whether the folder has the file; other failures stay errors.
pub async fn exists(source: &dyn Source, path: &str) -> Result<bool> {
    match source.size(path).await {
        Ok(_) => Ok(true),
        Err(Error::FileMissing { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The bytes of `range`; a source that gives fewer or more is not believed.
///
/// Fails as [`Source::read`] does.
pub async fn exactly(source: &dyn Source, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
    let expected = range.end.saturating_sub(range.start);
    let bytes = source.read(path, range.clone()).await?;
    let found = bytes.len() as u64;
    if found < expected {
        return Err(truncated(path, range.end, range.start.saturating_add(found)));
    }
    if found > expected {
        let reason = format!("{expected} bytes were asked for, {found} came");
        return Err(Error::ReadFailed { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

pub(super) fn invalid(path: &str, reason: String) -> Error {
    Error::FileInvalid { path: path.to_owned(), reason }
}

pub(super) fn truncated(path: &str, expected: u64, found: u64) -> Error {
    Error::FileTruncated { path: path.to_owned(), expected, found }
}

#[cfg(not(target_arch = "wasm32"))]
pub use folder::FolderSource;

#[cfg(not(target_arch = "wasm32"))]
mod folder {
    use super::*;
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom};
    use std::path::{Component, Path, PathBuf};

    /// A directory on disk.
    #[derive(Debug, Clone)]
    pub struct FolderSource {
        root: PathBuf,
    }

    impl FolderSource {
        /// The directory at `root`; whether it exists shows when something is read.
        pub fn new(root: impl Into<PathBuf>) -> Self {
            Self { root: root.into() }
        }

        /// The file and its length. A path that leads out of the folder is a missing file.
        fn open(&self, path: &str) -> Result<(File, u64)> {
            let missing = || Error::FileMissing { path: path.to_owned() };
            if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(missing());
            }
            let opened = File::open(self.root.join(path)).and_then(|file| Ok((file.metadata()?, file)));
            match opened {
                Ok((metadata, file)) if metadata.is_file() => Ok((file, metadata.len())),
                Ok(_) => Err(missing()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(e) => Err(failed(path, &e)),
            }
        }

        fn read_range(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
            let (mut file, size) = self.open(path)?;
            if range.end > size {
                return Err(Error::FileTruncated { path: path.to_owned(), expected: range.end, found: size });
            }
            let out_of_memory = || Error::OutOfMemory { reason: format!("reading {path}") };
            let length =
                usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| out_of_memory())?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length).map_err(|_| out_of_memory())?;
            bytes.resize(length, 0);
            file.seek(SeekFrom::Start(range.start)).map_err(|e| failed(path, &e))?;
            file.read_exact(&mut bytes).map_err(|e| failed(path, &e))?;
            Ok(bytes)
        }
    }

    fn failed(path: &str, error: &io::Error) -> Error {
        Error::ReadFailed { path: path.to_owned(), reason: error.to_string() }
    }

    impl Source for FolderSource {
        fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
            Box::pin(async move { self.open(path).map(|(_, size)| size) })
        }

        fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
            Box::pin(async move { self.read_range(path, range) })
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) mod testing {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    /// A folder in memory that counts what is read of it.
    #[derive(Default)]
    pub(crate) struct Memory {
        pub(crate) files: BTreeMap<String, Vec<u8>>,
        pub(crate) read: Cell<usize>,
    }

    impl Memory {
        pub(crate) fn with(files: &[(&str, Vec<u8>)]) -> Self {
            let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
            Self { files, read: Cell::new(0) }
        }

        fn file(&self, path: &str) -> Result<&Vec<u8>> {
            self.files.get(path).ok_or_else(|| Error::FileMissing { path: path.to_owned() })
        }
    }

    impl Source for Memory {
        fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
            Box::pin(async move { Ok(self.file(path)?.len() as u64) })
        }

        fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
            Box::pin(async move {
                let bytes = self.file(path)?.get(range.start as usize..range.end as usize);
                let bytes = bytes.ok_or_else(|| truncated(path, range.end, 0))?;
                self.read.set(self.read.get() + bytes.len());
                Ok(bytes.to_vec())
            })
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use pollster::block_on;

    fn shipped() -> FolderSource {
        FolderSource::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/small"))
    }

    #[test]
    fn ranges() {
        let source = shipped();
        let whole = block_on(read_all(&source, "model_index.json", 1 << 20)).unwrap();
        let size = block_on(source.size("model_index.json")).unwrap();
        assert_eq!(whole.len() as u64, size);
        assert_eq!(block_on(source.read("model_index.json", 3..9)).unwrap(), whole[3..9]);
        assert!(block_on(source.read("model_index.json", size..size)).unwrap().is_empty());
    }

    #[test]
    fn failures() {
        let source = shipped();
        let size = block_on(source.size("vae/config.json")).unwrap();
        let truncated =
            Error::FileTruncated { path: "vae/config.json".to_owned(), expected: size + 1, found: size };
        assert_eq!(block_on(source.read("vae/config.json", 0..size + 1)), Err(truncated));
        assert_eq!(
            block_on(source.read("vae/config.json", 0..u64::MAX)).unwrap_err().code(),
            "file_truncated"
        );
        for path in
            ["none.json", "vae", "../small/model_index.json", "/etc/hostname", "vae/../vae/config.json"]
        {
            assert_eq!(block_on(source.size(path)).unwrap_err().code(), "file_missing", "{path}");
            assert_eq!(block_on(exists(&source, path)), Ok(false));
        }
        assert_eq!(block_on(read_all(&source, "vae/config.json", 10)).unwrap_err().code(), "file_invalid");
        assert_eq!(block_on(exists(&source, "vae/config.json")), Ok(true));
    }
}
