//! The values that a GGUF header is made of, read one after the other.

use crate::error::Result;
use crate::weights::metadata::{MetaArray, MetaValue};
use crate::weights::source::invalid;

/// Arrays of arrays are allowed by the format and used by nobody.
const MAX_DEPTH: usize = 4;

/// Why parsing ends early.
pub(super) enum Stop {
    /// The header goes on after the bytes at hand.
    More,
    /// It is none.
    Invalid(String),
}

pub(super) type Step<T> = std::result::Result<T, Stop>;

pub(super) fn refuse<T>(reason: impl Into<String>) -> Step<T> {
    Err(Stop::Invalid(reason.into()))
}

/// Value types of metadata.
pub(crate) const UINT8: u32 = 0;
pub(crate) const INT8: u32 = 1;
pub(crate) const UINT32: u32 = 4;
pub(crate) const INT32: u32 = 5;
pub(crate) const FLOAT32: u32 = 6;
const BOOL: u32 = 7;
/// Not of a fixed size, as the next.
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;
const FLOAT64: u32 = 12;

/// Bytes of a list before its values: their type and number.
const ARRAY_HEAD: u64 = 12;

/// The strings of a list, from the bytes of its values.
///
/// Fails with `FileInvalid` where they are no strings of UTF-8, or not `count`; nothing is to be read after that.
pub(crate) fn strings<'a>(
    path: &'a str,
    bytes: &'a [u8],
    count: u64,
) -> impl Iterator<Item = Result<&'a str>> {
    let mut cursor = Cursor::new(bytes, bytes.len() as u64);
    (0..count).map(move |_| {
        cursor.string().map_err(|stop| match stop {
            Stop::Invalid(reason) => invalid(path, reason),
            Stop::More => invalid(path, "a list of strings ends early".to_owned()),
        })
    })
}

/// Bytes of a metadata value of a fixed size.
fn value_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Reads on in the first bytes of a file, and knows how long the whole file is: what does not fit it is refused before it is read.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    file_size: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file_size: u64) -> Self {
        Self { bytes, at: 0, file_size }
    }

    fn take(&mut self, count: u64) -> Step<&'a [u8]> {
        let end = (self.at as u64).checked_add(count).filter(|end| *end <= self.file_size);
        let Some(end) = end else { return refuse("its header promises more than the file has") };
        // The bytes at hand are in memory: what they hold fits usize.
        let found = usize::try_from(end).ok().and_then(|end| self.bytes.get(self.at..end));
        let found = found.ok_or(Stop::More)?;
        self.at += found.len();
        Ok(found)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N as u64)?.first_chunk().copied().ok_or(Stop::More)
    }

    pub(super) fn u32(&mut self) -> Step<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Step<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn string(&mut self) -> Step<&'a str> {
        let length = self.u64()?;
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text),
            Err(_) => refuse("a name is no UTF-8"),
        }
    }

    /// A whole number that is not negative, of any width.
    pub(super) fn integer(&mut self, kind: u32) -> Step<u64> {
        let bytes = match (kind, value_bytes(kind)) {
            (0..=5 | 10 | 11, Some(bytes)) => self.take(bytes)?,
            _ => return refuse(format!("a value of type {kind} stands for a whole number")),
        };
        let signed = matches!(kind, 1 | 3 | 5 | 11);
        if signed && bytes.last().is_some_and(|top| top & 0x80 != 0) {
            return refuse("a size is negative");
        }
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A value of metadata; a list is passed over, and checked on the way.
    pub(super) fn value(&mut self, kind: u32) -> Step<MetaValue> {
        Ok(match kind {
            STRING => MetaValue::Text(self.string()?.to_owned()),
            ARRAY => {
                let start = self.at as u64;
                let mut values = Self { bytes: self.bytes, at: self.at, file_size: self.file_size };
                let (kind, count) = (values.u32()?, values.u64()?);
                self.skip_value(ARRAY, 0)?;
                MetaValue::Array(MetaArray { kind, count, range: start + ARRAY_HEAD..self.at as u64 })
            }
            FLOAT32 => {
                // The shortest decimal that gives these 32 bits is the one that was meant: 0.1, not 0.10000000149.
                let value = f32::from_le_bytes(self.array()?);
                MetaValue::Float(value.to_string().parse().unwrap_or(f64::from(value)))
            }
            BOOL => MetaValue::Bool(self.array::<1>()? != [0]),
            FLOAT64 => MetaValue::Float(f64::from_le_bytes(self.array()?)),
            _ => {
                let Some(bytes) = value_bytes(kind) else {
                    return refuse(format!("a metadata value has the type {kind}, which is not known"));
                };
                let bytes = self.take(bytes)?;
                let bits = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                let unused = 64 - 8 * bytes.len().min(8) as u32;
                let signed = matches!(kind, 1 | 3 | 5 | 11);
                MetaValue::Integer(if signed {
                    i128::from((bits << unused) as i64 >> unused)
                } else {
                    i128::from(bits)
                })
            }
        })
    }

    fn skip_value(&mut self, kind: u32, depth: usize) -> Step<()> {
        match kind {
            STRING => {
                let length = self.u64()?;
                self.take(length)?;
            }
            ARRAY if depth < MAX_DEPTH => {
                let (kind, count) = (self.u32()?, self.u64()?);
                match value_bytes(kind) {
                    Some(bytes) => {
                        let Some(length) = bytes.checked_mul(count) else {
                            return refuse("its header promises more than the file has");
                        };
                        self.take(length)?;
                    }
                    None => {
                        for _ in 0..count {
                            self.skip_value(kind, depth + 1)?;
                        }
                    }
                }
            }
            _ => match value_bytes(kind) {
                Some(bytes) => {
                    self.take(bytes)?;
                }
                None => return refuse(format!("a metadata value has the type {kind}, which is not known")),
            },
        }
        Ok(())
    }
}
