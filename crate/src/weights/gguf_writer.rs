//! GGUF files, written: the header for tensors that follow one by one.

use super::gguf::{ALIGNMENT, ARRAY, INT32, SHAPE_KEY, STRING, ggml_type};
use super::stored::FileDtype;
use crate::error::{Error, Result};

/// Version that is written.
const VERSION: u32 = 3;

/// A tensor that a file is going to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTensor {
    /// Name in the file.
    pub name: String,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// Number format. Rows that are no whole blocks are stored flat, as [`super::gguf`] says.
    pub dtype: FileDtype,
}

impl GgufTensor {
    /// Bytes of its data.
    ///
    /// # Errors
    /// [`Error::FileInvalid`] for a format that the file cannot hold, elements that are no whole blocks, or too many.
    pub fn bytes(&self) -> Result<u64> {
        let elements =
            self.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent as u64));
        let bytes = elements.and_then(|elements| self.dtype.bytes(elements));
        bytes.ok_or_else(|| self.unwritable())
    }

    /// Bytes from its data's start to the next tensor's.
    ///
    /// # Errors
    /// As [`GgufTensor::bytes`].
    pub fn padded_bytes(&self) -> Result<u64> {
        self.bytes()?.checked_next_multiple_of(ALIGNMENT).ok_or_else(|| self.unwritable())
    }

    fn unwritable(&self) -> Error {
        let reason = format!("a GGUF file does not hold {} as {:?}", self.dtype.name(), self.shape);
        Error::FileInvalid { path: self.name.clone(), reason }
    }

    fn is_flat(&self) -> bool {
        let blocks = matches!(self.dtype, FileDtype::Block(_));
        let whole = self.dtype.bytes(self.shape.last().copied().unwrap_or(1) as u64).is_some();
        blocks && (!whole || self.shape.len() > 2)
    }

    /// The format's number.
    fn kind(&self) -> Result<u32> {
        let named = |kind: &u32| ggml_type(*kind).is_some_and(|(name, ..)| name == self.dtype.name());
        (0..64).find(named).ok_or_else(|| self.unwritable())
    }
}

/// All that comes before the data of `tensors`, which follow in this order, each with zeros to the next multiple of 32 bytes.
///
/// # Errors
/// As [`GgufTensor::bytes`].
pub fn gguf_header(architecture: &str, tensors: &[GgufTensor]) -> Result<Vec<u8>> {
    let flat: Vec<&GgufTensor> = tensors.iter().filter(|tensor| tensor.is_flat()).collect();
    let mut out = b"GGUF".to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((flat.len() as u64 + 1).to_le_bytes());
    string(&mut out, "general.architecture");
    out.extend(STRING.to_le_bytes());
    string(&mut out, architecture);
    for tensor in flat {
        string(&mut out, &format!("{SHAPE_KEY}{}", tensor.name));
        out.extend(ARRAY.to_le_bytes());
        out.extend(INT32.to_le_bytes());
        out.extend((tensor.shape.len() as u64).to_le_bytes());
        for extent in &tensor.shape {
            let extent = i32::try_from(*extent).map_err(|_| tensor.unwritable())?;
            out.extend(extent.to_le_bytes());
        }
    }
    let mut offset = 0u64;
    for tensor in tensors {
        let shape = match tensor.is_flat() {
            true => vec![tensor.shape.iter().product()],
            false => tensor.shape.clone(),
        };
        string(&mut out, &tensor.name);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|extent| (*extent as u64).to_le_bytes()));
        out.extend(tensor.kind()?.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset = offset.checked_add(tensor.padded_bytes()?).ok_or_else(|| tensor.unwritable())?;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    Ok(out)
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::super::gguf::GgufHeader;
    use super::*;

    fn tensor(name: &str, shape: &[usize], dtype: &str) -> GgufTensor {
        GgufTensor { name: name.into(), shape: shape.into(), dtype: FileDtype::from_name(dtype.into()) }
    }

    #[test]
    fn a_written_header_is_read_again() {
        let tensors = [
            tensor("linear", &[3, 64], "Q8_0"),
            tensor("patches", &[6, 2, 1, 2, 2], "F16"),
            tensor("kernel", &[8, 4, 1, 3, 3], "Q4_0"),
            tensor("odd", &[3], "F32"),
            tensor("one", &[], "BF16"),
            tensor("k", &[2, 512], "Q4_K"),
        ];
        let header = gguf_header("wan", &tensors).unwrap();
        assert_eq!(header.len() % 32, 0);
        let size = header.len() as u64 + tensors.iter().map(|t| t.padded_bytes().unwrap()).sum::<u64>();
        let found = GgufHeader::parse("f", &header, size).unwrap().unwrap();
        assert_eq!(found.tensors.len(), tensors.len());
        let mut at = header.len() as u64;
        for tensor in &tensors {
            let location = &found.tensors[&tensor.name];
            assert_eq!((&location.shape, &location.dtype), (&tensor.shape, &tensor.dtype));
            assert_eq!(location.range, at..at + tensor.bytes().unwrap());
            at += tensor.padded_bytes().unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for tensor in
            [tensor("a", &[3], "Q8_0"), tensor("b", &[3], "F8_E4M3"), tensor("c", &[usize::MAX, 4], "F32")]
        {
            assert_eq!(gguf_header("wan", &[tensor]).unwrap_err().code(), "file_invalid");
        }
    }
}
