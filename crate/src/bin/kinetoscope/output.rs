//! Where the frames go: a GIF, a contact sheet, or a folder of PNGs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageError, RgbaImage, imageops};
use kinetoscope::{Error, Result};

/// Pixels between the pictures of a contact sheet.
const GAP: u32 = 2;

/// Where frames go, one after the other. A GIF and a folder's pictures are written as they come.
pub struct Output {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// Written beside its place, so that an old file stays until the new one is whole.
    Gif(Option<GifEncoder<BufWriter<File>>>),
    Sheet(Vec<RgbaImage>),
    Folder(usize),
}

impl Output {
    /// Decides by the extension, and finds out whether the place can be written.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for another extension, [`Error::WriteFailed`].
    pub fn new(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let kind = match extension.as_deref() {
            _ if path.is_dir() => Kind::Folder(0),
            None => Kind::Folder(0),
            Some("gif") => Kind::Gif(None),
            Some("png") => Kind::Sheet(Vec::new()),
            Some(_) => {
                return Err(Error::OptionInvalid {
                    option: "out".into(),
                    expected: "a .gif, a .png or a folder".into(),
                    found: path.display().to_string(),
                });
            }
        };
        match kind {
            Kind::Folder(_) => check_writable(&path.join(frame_name(0)))?,
            Kind::Gif(_) | Kind::Sheet(_) => check_writable(path)?,
        }
        Ok(Self { path: path.into(), kind })
    }

    /// Takes the next RGBA frame of `width` x `height`.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn add(&mut self, rgba: &[u8], width: usize, height: usize, fps: f64) -> Result<()> {
        let image = picture(rgba, width, height)
            .ok_or_else(|| failed(&self.path, &"a frame has another size than the clip"))?;
        let added = match &mut self.kind {
            Kind::Gif(encoder) => gif_encoder(encoder, &self.path).and_then(|encoder| {
                let delay = Delay::from_saturating_duration(Duration::from_secs_f64(1.0 / fps));
                encoder.encode_frame(Frame::from_parts(image, 0, 0, delay))
            }),
            Kind::Sheet(images) => {
                images.push(image);
                Ok(())
            }
            Kind::Folder(count) => {
                *count += 1;
                image.save(self.path.join(frame_name(*count - 1)))
            }
        };
        added.map_err(|error| failed(&self.path, &error))
    }

    /// Writes what is left to write.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn finish(self) -> Result<()> {
        let Self { path, kind } = self;
        let written = match kind {
            Kind::Gif(encoder) => {
                // The encoder writes the end of the file when it goes, and says nothing if it cannot.
                drop(encoder);
                whole(&part(&path)).and_then(|()| fs::rename(part(&path), &path)).map_err(ImageError::IoError)
            }
            Kind::Sheet(images) => sheet(&images).save(&path),
            Kind::Folder(_) => Ok(()),
        };
        written.map_err(|error| failed(&path, &error))
    }
}

/// The error of what cannot be written.
pub fn failed(path: &Path, reason: &dyn ToString) -> Error {
    Error::WriteFailed { path: path.display().to_string(), reason: reason.to_string() }
}

/// The encoder, made at the first frame.
fn gif_encoder<'a>(
    encoder: &'a mut Option<GifEncoder<BufWriter<File>>>,
    path: &Path,
) -> std::result::Result<&'a mut GifEncoder<BufWriter<File>>, ImageError> {
    Ok(match encoder {
        Some(encoder) => encoder,
        None => {
            let mut new = GifEncoder::new(BufWriter::new(File::create(part(path))?));
            new.set_repeat(Repeat::Infinite)?;
            encoder.insert(new)
        }
    })
}

/// Whether a GIF ends as it should.
fn whole(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b";" { Ok(()) } else { Err(io::Error::other("its end could not be written")) }
}

/// Where a GIF grows.
fn part(path: &Path) -> PathBuf {
    path.with_extension("gif.part")
}

/// Finds out whether a file can be written at `path`, making the folders above it. An old file stays as it is until the new one
/// is there, and no empty one is left behind.
///
/// # Errors
/// [`Error::WriteFailed`].
pub fn check_writable(path: &Path) -> Result<()> {
    let probe = || {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let existed = path.exists();
        File::options().create(true).append(true).open(path)?;
        if existed { Ok(()) } else { fs::remove_file(path) }
    };
    probe().map_err(|error: io::Error| Error::WriteFailed {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

fn frame_name(index: usize) -> String {
    format!("frame-{index:04}.png")
}

fn picture(rgba: &[u8], width: usize, height: usize) -> Option<RgbaImage> {
    RgbaImage::from_raw(u32::try_from(width).ok()?, u32::try_from(height).ok()?, rgba.to_vec())
}

/// All frames in reading order, about twice as many a row as rows.
fn sheet(images: &[RgbaImage]) -> RgbaImage {
    let Some(first) = images.first() else { return RgbaImage::new(1, 1) };
    let count = images.len() as u32;
    let columns = ((f64::from(count) * 2.0).sqrt().ceil() as u32).clamp(1, count);
    let rows = count.div_ceil(columns);
    let (w, h) = (first.width() + GAP, first.height() + GAP);
    let mut sheet = RgbaImage::from_pixel(columns * w - GAP, rows * h - GAP, image::Rgba([255; 4]));
    for (i, image) in (0..count).zip(images) {
        imageops::replace(&mut sheet, image, i64::from(i % columns * w), i64::from(i / columns * h));
    }
    sheet
}
