//! The types that settings of the query log have.

use std::path::PathBuf;

use toml::de::DeValue;

use super::value::{Faults, Surroundings, Value, choice, quoted, text};

choice!(
    /// Which statements the query log has.
    QueryLogWhich {
        All = "all",
        /// Those of which a rule spoke, also in mode observe.
        Judged = "judged",
        /// Those that took `min_duration` or longer.
        Slow = "slow",
    }
);
choice!(
    /// How it has their texts.
    QueryLogText {
        /// Literals left out.
        Normalized = "normalized",
        /// As they were written.
        Full = "full",
    }
);

/// A file that may have to be made, in a directory that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile(pub PathBuf);

impl Value for NewFile {
    const EXPECTED: &'static str = "a path in a directory that exists";
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        let path = surroundings.base.join(text::<Self>(value)?);
        if path.is_dir() {
            return Err(format!("is a directory: {}", path.display()).into());
        }
        match path.parent() {
            Some(directory) if directory.is_dir() => Ok(Self(path)),
            _ => Err(format!("is in no directory that exists: {}", path.display()).into()),
        }
    }
    fn show(&self) -> String {
        quoted(&self.0.to_string_lossy())
    }
}

/// A share of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl Value for Share {
    const EXPECTED: &'static str = "a number from 0 to 1";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        let float = value.as_float().and_then(|number| number.as_str().parse::<f64>().ok());
        let whole = value.as_integer().and_then(|number| number.as_str().parse::<f64>().ok());
        match float.or(whole) {
            Some(share) if (0.0..=1.0).contains(&share) => Ok(Self(share)),
            _ => Err(format!("must be {}", Self::EXPECTED).into()),
        }
    }
    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
}
