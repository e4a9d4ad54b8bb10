//! A packed model's folder, written: files cut into parts and chunks as they come.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use kinetoscope::weights::packed::hash;
use kinetoscope::weights::{Manifest, ManifestComponent, ManifestFile};
use kinetoscope::{Error, Result};
use serde_json::{Map, Value};

use super::output::failed;

const CHUNK_BYTES: usize = 4 << 20;
const PART_BYTES: u64 = 32 << 20;

/// Subfolder of the parts.
const PARTS: &str = "parts";

/// A part while it is written.
const UNFINISHED: &str = "parts/unfinished";

/// The folder. What is there already stays valid until [`PartsFolder::finish`]: parts are named by what they hold.
pub struct PartsFolder {
    folder: PathBuf,
    files: Vec<ManifestFile>,
}

impl PartsFolder {
    /// An empty folder, or one that will be; with `force` one with a packed model in it, or with what is left of an interrupted packing.
    ///
    /// # Errors
    /// [`Error::WriteFailed`], also for a folder with anything else in it.
    pub fn create(folder: &Path, force: bool) -> Result<Self> {
        let names = match fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(folder, &error)),
        };
        let json = fs::read(folder.join(Manifest::PATH)).ok();
        let packed = json.is_some_and(|json| Manifest::parse(Manifest::PATH, &json).is_ok());
        let ours = packed || names.iter().all(|name| name == PARTS);
        let refusal = match (names.is_empty(), ours, force) {
            (true, ..) | (_, true, true) => None,
            (_, true, false) => Some("it holds a packed model; --force writes over it"),
            (_, false, _) => Some("it is a folder with something else in it: choose a new one"),
        };
        if let Some(reason) = refusal {
            return Err(Error::WriteFailed { path: folder.display().to_string(), reason: reason.into() });
        }
        let parts = folder.join(PARTS);
        fs::create_dir_all(&parts).map_err(|error| failed(&parts, &error))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new() })
    }

    /// Begins the file `path` of the model's folder; `name` begins the names of its parts.
    pub fn file(&mut self, path: &str, name: &str) -> PartsFile<'_> {
        PartsFile {
            folder: self,
            name: name.to_owned(),
            chunk: Vec::with_capacity(CHUNK_BYTES),
            part: None,
            part_start: 0,
            file: ManifestFile { path: path.to_owned(), bytes: 0, parts: Vec::new(), chunks: Vec::new() },
        }
    }

    /// Writes the manifest, and removes the parts that it does not name: of a model that was here before, or of a packing that was interrupted.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn finish(
        self,
        name: String,
        licence: Option<String>,
        components: BTreeMap<String, ManifestComponent>,
        defaults: Map<String, Value>,
    ) -> Result<Manifest> {
        let manifest = Manifest {
            format: Manifest::FORMAT.to_owned(),
            version: Manifest::VERSION,
            name,
            licence,
            components,
            defaults,
            chunk_bytes: CHUNK_BYTES as u64,
            part_bytes: PART_BYTES,
            files: self.files,
        };
        let path = self.folder.join(Manifest::PATH);
        let mut json = serde_json::to_vec_pretty(&manifest).map_err(|error| Error::WriteFailed {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        json.push(b'\n');
        let unfinished = self.folder.join(UNFINISHED);
        fs::write(&unfinished, json).map_err(|error| failed(&unfinished, &error))?;
        fs::rename(&unfinished, &path).map_err(|error| failed(&path, &error))?;
        let needed: HashSet<&str> =
            manifest.files.iter().flat_map(|file| &file.parts).map(String::as_str).collect();
        let parts = self.folder.join(PARTS);
        for entry in fs::read_dir(&parts).map_err(|error| failed(&parts, &error))? {
            let path = entry.map_err(|error| failed(&parts, &error))?.path();
            let name = path.file_name().map(|name| format!("{PARTS}/{}", name.to_string_lossy()));
            if name.is_some_and(|name| name.ends_with(".bin") && !needed.contains(name.as_str())) {
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
            }
        }
        Ok(manifest)
    }
}

/// One file of a packed model while it is written.
pub struct PartsFile<'a> {
    folder: &'a mut PartsFolder,
    name: String,
    chunk: Vec<u8>,
    part: Option<File>,
    /// The part's first chunk.
    part_start: usize,
    file: ManifestFile,
}

impl PartsFile<'_> {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<()> {
        let path = self.folder.folder.join(UNFINISHED);
        let part = match &mut self.part {
            Some(part) => part,
            none => none.insert(File::create(&path).map_err(|error| failed(&path, &error))?),
        };
        part.write_all(&self.chunk).map_err(|error| failed(&path, &error))?;
        self.file.chunks.push(hash(&self.chunk));
        self.file.bytes += self.chunk.len() as u64;
        self.chunk.clear();
        if self.file.bytes.is_multiple_of(PART_BYTES) { self.end_part() } else { Ok(()) }
    }

    /// Gives the part its name. It changes with what the part holds, so that a cache never has another part under it.
    fn end_part(&mut self) -> Result<()> {
        if self.part.take().is_none() {
            return Ok(());
        }
        let chunks = self.file.chunks.get(self.part_start..).unwrap_or_default();
        let content = hash(chunks.concat().as_bytes());
        let name = format!("{PARTS}/{}-{:04}-{}.bin", self.name, self.file.parts.len(), &content[..16]);
        let path = self.folder.folder.join(&name);
        fs::rename(self.folder.folder.join(UNFINISHED), &path).map_err(|error| failed(&path, &error))?;
        self.part_start = self.file.chunks.len();
        self.file.parts.push(name);
        Ok(())
    }

    /// Puts the file onto the manifest's list, and says its length.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn finish(mut self) -> Result<u64> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        self.end_part()?;
        let bytes = self.file.bytes;
        self.folder.files.push(self.file);
        Ok(bytes)
    }
}
