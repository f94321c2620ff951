//! Where policies come from: a file, a directory, or the built-in baseline.

use std::path::PathBuf;

use toml::de::DeValue;

use super::value::{Faults, Surroundings, Value, quoted, text};

/// The name of the built-in policy, where no file is called so.
pub const BUILT_IN: &str = "baseline";

/// One entry of `policies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPath(pub PathBuf);

impl Value for PolicyPath {
    const EXPECTED: &'static str = "a path, or `baseline`";
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        if text::<Self>(value)? == BUILT_IN && !surroundings.base.join(BUILT_IN).exists() {
            return Ok(Self(BUILT_IN.into()));
        }
        PathBuf::read(value, surroundings).map(Self)
    }
    fn show(&self) -> String {
        quoted(&self.0.to_string_lossy())
    }
}
