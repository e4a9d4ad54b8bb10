//! Pictures and clips from files, brought to the size of the clip.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use image::codecs::gif::GifDecoder;
use image::imageops::FilterType;
use image::{AnimationDecoder, DynamicImage, ImageReader, RgbImage, imageops};
use kinetoscope::pipeline::{Edit, Footage, Given, Mask};
use kinetoscope::{Error, Result};

/// How a picture of another shape is brought to the clip's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fit {
    /// Fills the clip; what juts out is cut off.
    Cover,
    /// Is seen whole, with black beside it.
    Contain,
    /// Is drawn out of shape.
    Stretch,
}

/// `AT=PATH`: what a clip is to contain from a frame on.
#[derive(Debug, Clone)]
pub struct GivenArg {
    at: isize,
    path: PathBuf,
}

impl std::str::FromStr for GivenArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (at, path) =
            text.split_once('=').ok_or("expected AT=PATH, such as 0=first.png or -1=last.png")?;
        let at = at.parse().map_err(|_| format!("{at} is no frame number"))?;
        Ok(Self { at, path: path.into() })
    }
}

impl GivenArg {
    /// The picture that a clip begins with.
    pub fn first(path: &Path) -> Self {
        Self { at: 0, path: path.into() }
    }

    /// Reads the pictures.
    ///
    /// # Errors
    /// As [`read`].
    pub fn load(&self, size: [usize; 2], fit: Fit) -> Result<Given> {
        Ok(Given { at: self.at, footage: footage(&read(&self.path)?, size, fit) })
    }
}

/// Reads the clip to change, and where it may.
///
/// # Errors
/// As [`read`].
pub fn load_edit(
    video: &Path,
    mask: Option<&Path>,
    strength: f64,
    size: [usize; 2],
    fit: Fit,
) -> Result<Edit> {
    let [width, height] = size;
    let mask = match mask {
        None => None,
        Some(path) => {
            let pictures = read(path)?;
            let planes =
                pictures.iter().map(|picture| DynamicImage::from(fitted(picture, size, fit)).to_luma8());
            let values = planes.flat_map(image::GrayImage::into_raw).collect();
            Some(Mask { width, height, values })
        }
    };
    Ok(Edit { footage: footage(&read(video)?, size, fit), strength, mask })
}

fn footage(pictures: &[RgbImage], size: [usize; 2], fit: Fit) -> Footage {
    let [width, height] = size;
    let rgb = pictures.iter().flat_map(|picture| fitted(picture, size, fit).into_raw()).collect();
    Footage { width, height, rgb }
}

fn fitted(picture: &RgbImage, [width, height]: [usize; 2], fit: Fit) -> RgbImage {
    let [width, height] = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let picture = DynamicImage::from(picture.clone());
    match fit {
        Fit::Cover => picture.resize_to_fill(width, height, FilterType::CatmullRom).into_rgb8(),
        Fit::Stretch => picture.resize_exact(width, height, FilterType::CatmullRom).into_rgb8(),
        Fit::Contain => {
            let small = picture.resize(width, height, FilterType::CatmullRom).into_rgb8();
            let mut whole = RgbImage::new(width, height);
            let middle = |outer: u32, inner: u32| i64::from(outer.saturating_sub(inner) / 2);
            let (x, y) = (middle(width, small.width()), middle(height, small.height()));
            imageops::replace(&mut whole, &small, x, y);
            whole
        }
    }
}

/// The pictures of a PNG, of a GIF, or of a folder of PNGs in the order of their names.
///
/// # Errors
/// [`Error::ReadFailed`] for a file that cannot be opened, [`Error::FileInvalid`] for one that does not decode, and for a folder without PNGs.
fn read(path: &Path) -> Result<Vec<RgbImage>> {
    let name = || path.display().to_string();
    let failed = |e: std::io::Error| Error::ReadFailed { path: name(), reason: e.to_string() };
    let invalid = |e: image::ImageError| Error::FileInvalid { path: name(), reason: e.to_string() };
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(failed)?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")))
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(Error::FileInvalid { path: name(), reason: "there is no PNG in this folder".into() });
        }
        let pictures = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
        return Ok(pictures.into_iter().flatten().collect());
    }
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(failed)?;
    if reader.format() == Some(image::ImageFormat::Gif) {
        let frames = GifDecoder::new(reader.into_inner()).map_err(invalid)?.into_frames();
        let frames = frames.collect_frames().map_err(invalid)?;
        return Ok(frames.into_iter().map(|frame| on_black(frame.into_buffer().into())).collect());
    }
    Ok(vec![on_black(reader.decode().map_err(invalid)?)])
}

/// What is transparent shows black.
fn on_black(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|v| (u32::from(v) * u32::from(a) / 255) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_another_shape_is_fitted() {
        // Left half red, right half blue; twice as wide as high.
        let picture =
            RgbImage::from_fn(8, 4, |x, _| image::Rgb(if x < 4 { [255, 0, 0] } else { [0, 0, 255] }));
        let corner = |fit| fitted(&picture, [4, 4], fit).get_pixel(0, 0).0;
        assert_eq!(corner(Fit::Cover), [255, 0, 0]);
        assert_eq!(corner(Fit::Stretch), [255, 0, 0]);
        assert_eq!(corner(Fit::Contain), [0, 0, 0]);
        assert_eq!(fitted(&picture, [4, 4], Fit::Contain).get_pixel(0, 2).0, [255, 0, 0]);
        assert_eq!(fitted(&picture, [8, 4], Fit::Contain), picture);
    }

    #[test]
    fn a_place_and_a_path() {
        let arg = "-1=a=b.png".parse().map(|GivenArg { at, path }| (at, path));
        assert_eq!(arg, Ok((-1, PathBuf::from("a=b.png"))));
        assert!("first.png".parse::<GivenArg>().is_err() && "x=first.png".parse::<GivenArg>().is_err());
    }
}
