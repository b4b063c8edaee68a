//! Amounts of memory and data.

use std::fmt;
use std::str::FromStr;

use super::text::{self, Text, UnitError};

/// An amount of data: `"24GiB"` (binary), `"80GB"` (decimal), `"100B"`. A fraction is rounded to the
/// nearest byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

const UNITS: [(u64, &str); 12] = [
    (1, "B"),
    (1 << 10, "KiB"),
    (1 << 20, "MiB"),
    (1 << 30, "GiB"),
    (1 << 40, "TiB"),
    (1 << 50, "PiB"),
    (1_000, "KB"),
    (1_000, "kB"),
    (1_000_000, "MB"),
    (1_000_000_000, "GB"),
    (1_000_000_000_000, "TB"),
    (1_000_000_000_000_000, "PB"),
];

impl Text for Bytes {
    const WHAT: &'static str = "a size";
    const EXPECTED: &'static str = "a size such as \"24GiB\": a number from 0 and a unit (B, KiB, MiB, GiB, TiB, PiB, \
                                    or the decimal KB, MB, GB, TB, PB)";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? *(B|[KMGTP]i?B|kB)$";
    const EXAMPLE: &'static str = "24GiB";
}

impl Bytes {
    /// A number of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(value: &str) -> Result<Self, UnitError> {
        let read = || {
            let (number, unit) = text::split(value)?;
            if unit.is_empty() {
                return Err(text::NO_UNIT);
            }
            let (bytes, _) = UNITS.iter().find(|(_, name)| *name == unit).ok_or(text::UNKNOWN_UNIT)?;
            let (bytes, rest) = text::times(number, *bytes)?;
            let bytes = bytes.checked_add(u64::from(rest == Some(true))).ok_or(text::TOO_LARGE)?;
            Ok(Self(bytes))
        };
        read().map_err(|reason| Self::error(value, reason))
    }
}

impl fmt::Display for Bytes {
    /// The shortest whole number of a unit: `24GiB`, `80GB`, `1001B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().filter(|(unit, _)| self.0.is_multiple_of(*unit));
        f.write_str(&text::shortest(whole.map(|(unit, name)| format!("{}{name}", self.0 / unit)), |_| true))
    }
}

text::as_text!(Bytes);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_and_decimal_units() {
        for (text, bytes, canonical) in [
            ("24GiB", 24 << 30, "24GiB"),
            ("80GB", 80_000_000_000, "80GB"),
            ("512MB", 512_000_000, "512MB"),
            ("16KiB", 16_384, "16KiB"),
            ("16kB", 16_000, "16KB"),
            ("100B", 100, "100B"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            ("0.1GiB", 107_374_182, "107374182B"),
            ("0B", 0, "0B"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!(size.get(), bytes);
            assert_eq!(size.to_string(), canonical);
        }
        for bad in ["24", "24G", "24gib", "-1B", "99999999PiB", "1Gb"] {
            let error = bad.parse::<Bytes>().unwrap_err().to_string();
            assert!(error.contains("such as \"24GiB\""), "{error}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(bytes: u64) {
            let size = Bytes::new(bytes);
            prop_assert_eq!(size.to_string().parse::<Bytes>().unwrap(), size);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Bytes>();
        }
    }
}
