//! Trees of files, copied.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;

use super::Error;

/// What becomes of each entry of a tree.
pub(super) trait Copying {
    /// Whether it is taken at all; `path` counts from the tree's top.
    fn takes(&self, path: &Path) -> bool;
    /// Makes a file.
    fn file(&self, from: &Path, to: &Path) -> std::io::Result<()>;
    /// After anything but a directory's contents was made.
    fn made(&self, to: &Path, of: &Metadata) -> std::io::Result<()>;
}

/// Copies what is in `from` into the directory `to`, which exists. What vanishes meanwhile is left out.
pub(super) fn copy(from: &Path, to: &Path, how: &dyn Copying) -> Result<(), Error> {
    inside(from, to, Path::new(""), how).map_err(Error::io(format!(
        "copying {} to {}",
        from.display(),
        to.display()
    )))
}

fn inside(from: &Path, to: &Path, below: &Path, how: &dyn Copying) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from.join(below))? {
        let name = below.join(entry?.file_name());
        if how.takes(&name) {
            match one(from, to, &name, how) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

fn one(from: &Path, to: &Path, name: &Path, how: &dyn Copying) -> std::io::Result<()> {
    let (source, target) = (from.join(name), to.join(name));
    let metadata = source.symlink_metadata()?;
    if metadata.is_dir() {
        std::fs::create_dir(&target)?;
        how.made(&target, &metadata)?;
        return inside(from, to, name, how);
    }
    if metadata.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(&source)?, &target)?;
    } else {
        how.file(&source, &target)?;
    }
    how.made(&target, &metadata)
}
