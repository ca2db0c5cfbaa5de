//! Values with a unit, written as text in the configuration: `"30s"`, `"256KiB"`. Used by every section; knows nothing of
//! keys or files.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not a value of the unit; the message names the accepted forms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUnit {
    /// Not a duration.
    #[error("{0:?} is not a duration; write a whole number and ms, s, m, h or d, such as \"30s\"")]
    Duration(String),
    /// Not a size.
    #[error("{0:?} is not a size; write a whole number and B, KiB, MiB or GiB, such as \"256KiB\"")]
    Size(String),
}

/// A time span: `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// A number of bytes: `"512B"`, `"256KiB"`, `"10MiB"`, `"1GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
}

impl Size {
    /// A size in KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// A size in MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

/// Splits `"30s"` into 30 and the factor of `s`; `None` for unknown units and for values that overflow.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// The largest unit that divides `n`, which is how people write it.
fn write_scaled(f: &mut fmt::Formatter<'_>, n: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    match units.iter().find(|(_, factor)| n != 0 && n.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", n / factor),
        None => write!(f, "0{zero}"),
    }
}

impl FromStr for Span {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let millis = scaled(text, &SPANS).ok_or_else(|| BadUnit::Duration(text.to_owned()))?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Self, BadUnit> {
        scaled(text, &SIZES).map(Self).ok_or_else(|| BadUnit::Size(text.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS, "s")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZES, "B")
    }
}

macro_rules! as_text {
    ($unit:ident, $format:literal) => {
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.collect_str(self)
            }
        }
        impl JsonSchema for $unit {
            fn schema_name() -> Cow<'static, str> {
                stringify!($unit).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

as_text!(Span, "duration");
as_text!(Size, "size");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write_the_same_text() {
        for text in ["500ms", "30s", "5m", "1h", "7d", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("90 s".parse::<Span>().unwrap(), Span::seconds(90));
    }

    #[test]
    fn sizes_read_and_write_the_same_text() {
        for text in ["512B", "256KiB", "10MiB", "1GiB", "0B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bare_number_or_an_unknown_unit_is_refused_with_the_accepted_forms() {
        for text in ["30", "s", "", "-1s", "1.5h", "30 fortnights", "99999999999999999999s", "18446744073709551615d"] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("ms, s, m, h or d"), "{error}");
        }
        for text in ["10", "10KB", "1.5MiB", "18446744073709551615GiB"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("KiB"), "{error}");
        }
    }
}
