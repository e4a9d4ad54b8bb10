//! What a weight file says of itself beside its tensors.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// One value of a file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    /// A whole number, of any width.
    Integer(i128),
    /// A float, of any width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list, which stays in the file until it is asked for.
    Array(MetaArray),
}

/// Where a list of a GGUF file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaArray {
    /// Type of its values, by GGUF's numbers.
    pub kind: u32,
    /// Number of its values.
    pub count: u64,
    /// Bytes of its values, from the file's start.
    pub range: Range<u64>,
}

/// All of a file's metadata by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metadata(pub BTreeMap<String, MetaValue>);

impl Metadata {
    /// The text of this name.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(MetaValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number of this name, if it is a whole one that is not negative.
    pub fn size(&self, key: &str) -> Option<usize> {
        match self.0.get(key) {
            Some(MetaValue::Integer(value)) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The float of this name.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.0.get(key) {
            Some(MetaValue::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The truth value of this name.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.0.get(key) {
            Some(MetaValue::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// The list of this name.
    pub fn array(&self, key: &str) -> Option<&MetaArray> {
        match self.0.get(key) {
            Some(MetaValue::Array(array)) => Some(array),
            _ => None,
        }
    }
}

impl fmt::Display for MetaValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Array(array) => write!(f, "{} values", array.count),
        }
    }
}

impl Serialize for MetaValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                // Between the largest i64 and the largest u64.
                Err(_) => serializer.serialize_u64(*value as u64),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(_) => serializer.collect_str(self),
        }
    }
}
