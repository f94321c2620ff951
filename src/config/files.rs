//! Reading small text files, with errors that name them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::{Problem, Source};

/// Larger than any settings or policy file; a path to a device or a dump must not fill the memory.
const MAX_BYTES: u64 = 16 << 20;

/// A whole text file.
pub(super) fn read(path: &Path) -> Result<Arc<Source>, Problem> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(Problem::new(format!("cannot read {name}: {error}")));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::new(format!("{name} is larger than 16 MB")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) => {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
            Err(Problem::new(format!("{name} is not UTF-8 (line {})", line + 1)))
        }
    }
}

/// The policy files a path stands for: itself, or a directory's `*.toml` by name, without `*.test.toml` (cases) and
/// `*.allowed.toml` (what an allow-list has learned).
pub(super) fn policies_in(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let name = path.display();
    let entries = fs::read_dir(path).map_err(|error| Problem::new(format!("cannot read {name}: {error}")))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| Problem::new(format!("cannot read {name}: {error}")))?.path();
        let file_name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let other = [".test.toml", ".allowed.toml"].iter().any(|end| file_name.ends_with(end));
        if file_name.ends_with(".toml") && !other && !file_name.starts_with('.') {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Problem::new(format!("no policy file (*.toml) in {name}")));
    }
    Ok(files)
}
