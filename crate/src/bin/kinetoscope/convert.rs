//! A tensor from one number format to another, some megabytes at a time.

use std::thread;

use kinetoscope::weights::quantise::quantise;
use kinetoscope::weights::source::exactly;
use kinetoscope::weights::{FileDtype, FileTensor, Source, TensorLocation};
use kinetoscope::{Error, Result};

/// Elements that are in memory at once: a multiple of every block's.
const PIECE: u64 = 1 << 22;

/// Elements of the largest block.
const BLOCK: usize = 256;

/// What a tensor is to become.
pub struct Conversion<'a> {
    /// Which one.
    pub tensor: &'a FileTensor,
    /// Where it lies.
    pub location: &'a TensorLocation,
    /// Its new format.
    pub target: FileDtype,
}

impl Conversion<'_> {
    /// Reads the tensor in pieces, and gives them in the new format in order, with the bytes that each had.
    ///
    /// # Errors
    /// What the source reports; [`Error::TensorNotFinite`]; [`Error::OptionInvalid`] where the format cannot hold the values.
    pub async fn run(
        &self,
        source: &dyn Source,
        take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let location = self.location;
        let scale = match &self.tensor.scale {
            Some(scale) => {
                let bytes = exactly(source, &scale.path, scale.range.clone()).await?;
                self.check_finite(&scale.dtype, &bytes, 0)?;
                scale.dtype.to_f32(&bytes).first().copied()
            }
            None => None,
        };
        let elements: u64 = location.shape.iter().map(|extent| *extent as u64).product();
        let mut start = 0;
        while start < elements {
            let count = PIECE.min(elements - start);
            let (Some(before), Some(length)) = (location.dtype.bytes(start), location.dtype.bytes(count))
            else {
                return Err(self.unreadable());
            };
            let begin = location.range.start + before;
            let bytes = exactly(source, &location.path, begin..begin + length).await?;
            self.check_finite(&location.dtype, &bytes, start)?;
            match scale.is_none() && location.dtype == self.target {
                true => take(&bytes, length)?,
                false => take(&self.convert(&bytes, scale)?, length)?,
            }
            start += count;
        }
        Ok(())
    }

    /// The same in another format, on all cores: blocks do not depend on each other.
    fn convert(&self, bytes: &[u8], scale: Option<f32>) -> Result<Vec<u8>> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let dtype = &self.location.dtype;
        let block = dtype.bytes(BLOCK as u64).map_or(1, |bytes| bytes as usize);
        let share = bytes.len().div_ceil(block).div_ceil(cores).max(1) * block;
        let convert = |bytes: &[u8]| {
            let mut values = dtype.to_f32(bytes);
            if let Some(scale) = scale {
                values.iter_mut().for_each(|value| *value *= scale);
            }
            quantise(&values, &self.target)
        };
        let converted: Option<Vec<Vec<u8>>> = thread::scope(|scope| {
            let running: Vec<_> =
                bytes.chunks(share).map(|bytes| scope.spawn(move || convert(bytes))).collect();
            running.into_iter().map(|thread| thread.join().ok().flatten()).collect()
        });
        let converted = converted.ok_or_else(|| self.unreadable())?.concat();
        match self.target.first_not_finite(&converted) {
            None => Ok(converted),
            Some(_) => Err(Error::OptionInvalid {
                option: self.tensor.component.clone(),
                expected: format!("a format that holds the values of {}, such as bf16", self.tensor.key),
                found: self.target.name().to_ascii_lowercase(),
            }),
        }
    }

    fn check_finite(&self, dtype: &FileDtype, bytes: &[u8], start: u64) -> Result<()> {
        match dtype.first_not_finite(bytes) {
            None => Ok(()),
            Some(index) => Err(Error::TensorNotFinite {
                component: self.tensor.component.clone(),
                tensor: self.tensor.key.clone(),
                index: index + start as usize,
            }),
        }
    }

    fn unreadable(&self) -> Error {
        Error::TensorDtype {
            component: self.tensor.component.clone(),
            tensor: self.tensor.key.clone(),
            found: self.location.dtype.name().to_owned(),
        }
    }
}
