//! Where policies come from: a file, a directory, or a pack that is built in.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::value::{Faults, Surroundings, Value, quoted, text};
use crate::guard::policy::{PACKS, Pack};

/// Whether a path is the name of a pack. A file of that name goes before it.
#[must_use]
pub fn is_pack(path: &Path) -> bool {
    pack(path).is_some()
}

/// The pack that a path names.
pub(super) fn pack(path: &Path) -> Option<&'static Pack> {
    Pack::find(path.to_str()?).filter(|_| !path.exists())
}

/// One entry of `policies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPath(pub PathBuf);

impl Value for PolicyPath {
    const EXPECTED: &'static str = "a path, or the name of a pack";
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        let name = text::<Self>(value)?;
        if Pack::find(name).is_some() && !surroundings.base.join(name).exists() {
            return Ok(Self(name.into()));
        }
        PathBuf::read(value, surroundings).map(Self).map_err(|mut faults| {
            if let Some((_, message)) = faults.0.first_mut().filter(|_| !name.contains(['/', '.'])) {
                let packs: Vec<&str> = PACKS.iter().map(|pack| pack.name).collect();
                message.push_str(&format!("; packs are {}", packs.join(", ")));
            }
            faults
        })
    }
    fn show(&self) -> String {
        quoted(&self.0.to_string_lossy())
    }
}
