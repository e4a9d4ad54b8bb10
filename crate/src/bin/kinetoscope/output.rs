//! Where the frames go: a GIF, a contact sheet, or a folder of PNGs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageError, RgbaImage, imageops};
use kinetoscope::{Error, Result};

/// Pixels between the pictures of a contact sheet.
const GAP: u32 = 2;

/// What the path asks for.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gif,
    Sheet,
    Folder,
}

impl Output {
    /// Decides by the extension, and finds out whether the place can be written.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for another extension, [`Error::WriteFailed`].
    pub fn new(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let kind = match extension.as_deref() {
            _ if path.is_dir() => Kind::Folder,
            None => Kind::Folder,
            Some("gif") => Kind::Gif,
            Some("png") => Kind::Sheet,
            Some(_) => {
                return Err(Error::OptionInvalid {
                    option: "out".into(),
                    expected: "a .gif, a .png or a folder".into(),
                    found: path.display().to_string(),
                });
            }
        };
        match kind {
            Kind::Folder => check_writable(&path.join(frame_name(0)))?,
            Kind::Gif | Kind::Sheet => check_writable(path)?,
        }
        Ok(Self { path: path.into(), kind })
    }

    fn failed(&self, reason: &dyn ToString) -> Error {
        Error::WriteFailed { path: self.path.display().to_string(), reason: reason.to_string() }
    }

    /// Writes RGBA frames of `width` x `height`.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn write(&self, frames: &[Vec<u8>], width: usize, height: usize, fps: f64) -> Result<()> {
        let images = frames.iter().map(|frame| picture(frame, width, height)).collect::<Option<Vec<_>>>();
        let images = images.ok_or_else(|| self.failed(&"a frame has another size than the clip"))?;
        match self.kind {
            Kind::Gif => self.gif(images, fps),
            Kind::Sheet => sheet(&images).save(&self.path),
            Kind::Folder => {
                images.iter().enumerate().try_for_each(|(i, image)| image.save(self.path.join(frame_name(i))))
            }
        }
        .map_err(|error| self.failed(&error))
    }

    fn gif(&self, images: Vec<RgbaImage>, fps: f64) -> std::result::Result<(), ImageError> {
        let mut file = BufWriter::new(File::create(&self.path)?);
        let delay = Delay::from_saturating_duration(std::time::Duration::from_secs_f64(1.0 / fps));
        {
            let mut encoder = GifEncoder::new(&mut file);
            encoder.set_repeat(Repeat::Infinite)?;
            encoder.encode_frames(images.into_iter().map(|image| Frame::from_parts(image, 0, 0, delay)))?;
        }
        // Dropping a buffered writer swallows the error of its last write.
        file.flush().map_err(|error: io::Error| ImageError::IoError(error))
    }
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
