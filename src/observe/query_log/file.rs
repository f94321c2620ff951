//! The file of the query log: lines go to its end, and when it is full it makes room.
//!
//! `queries.log` is the one that is written, `queries.log.1` the one before, and so on: never more files than were
//! asked for, and none larger than it may be (but for a single line that is). What could not be written whole is taken
//! back, so that no line is ever torn.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A log that is rotated.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    max_bytes: u64,
    /// With the one that is written.
    files: usize,
    open: Option<(File, u64)>,
}

/// What became of some lines.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) lines: u64,
    pub(super) failure: Option<io::Error>,
}

impl Rotating {
    pub(super) fn new(path: PathBuf, max_bytes: u64, files: usize) -> Self {
        Self { path, max_bytes, files: files.max(1), open: None }
    }

    /// The file of that name is opened at the next line, whatever was open.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// Writes whole lines. With a failure, those behind `lines` are not there.
    pub(super) fn write(&mut self, mut lines: &[u8]) -> Written {
        let mut written = Written::default();
        while !lines.is_empty() {
            match self.write_some(lines) {
                Ok(bytes) => {
                    let (done, rest) = lines.split_at(bytes.min(lines.len()));
                    written.lines += count(done);
                    lines = rest;
                }
                Err((bytes, error)) => {
                    written.lines += count(lines.get(..bytes).unwrap_or_default());
                    written.failure = Some(error);
                    self.open = None;
                    break;
                }
            }
        }
        written
    }

    /// As many lines as there is room for in one file. With a failure, so many bytes of whole lines are there.
    fn write_some(&mut self, lines: &[u8]) -> Result<usize, (usize, io::Error)> {
        let size = self.size().map_err(|e| (0, e))?;
        let room = usize::try_from(self.max_bytes.saturating_sub(size)).unwrap_or(usize::MAX);
        let mut fits = whole(lines, room);
        if fits == 0 && size > 0 {
            self.rotate().map_err(|e| (0, e))?;
            return Ok(0);
        }
        if fits == 0 {
            // Larger than a file may be: alone in one.
            fits = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        }
        let Some((file, size)) = &mut self.open else { return Ok(0) };
        let mut done = 0;
        while let Some(rest) = lines.get(done..fits).filter(|rest| !rest.is_empty()) {
            let failure = match file.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(n) => {
                    done += n;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            let kept = whole(lines, done);
            // If even this fails, the end of the last line is missing: a reader says so, and goes on behind it.
            let _ = file.set_len(*size + kept as u64);
            return Err((kept, failure));
        }
        *size += done as u64;
        Ok(done)
    }

    /// Of the file that is open now; opens it.
    fn size(&mut self) -> io::Result<u64> {
        if let Some((_, size)) = &self.open {
            return Ok(*size);
        }
        let mut options = OpenOptions::new();
        // Statements are nobody else's business.
        let mut file = options.append(true).create(true).mode(0o600).open(&self.path)?;
        let mut size = file.metadata()?.len();
        if size > 0 && !ends_whole(&self.path, size) {
            file.write_all(b"\n")?;
            size += 1;
        }
        self.open = Some((file, size));
        Ok(size)
    }

    fn name(&self, number: usize) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        let absent = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        match fs::remove_file(self.name(self.files - 1)) {
            Err(e) if !absent(&e) => return Err(e),
            _ => {}
        }
        for number in (0..self.files - 1).rev() {
            match fs::rename(self.name(number), self.name(number + 1)) {
                Err(e) if !absent(&e) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// How many of the first bytes are whole lines.
fn whole(lines: &[u8], within: usize) -> usize {
    let within = lines.get(..within.min(lines.len())).unwrap_or_default();
    memchr::memrchr(b'\n', within).map_or(0, |end| end + 1)
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// A process that was killed may have left half a line.
fn ends_whole(path: &std::path::Path, size: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let mut last = [b'\n'];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut last, size - 1));
    read.is_err() || last == *b"\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pgsluice-query-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn the_oldest_goes_and_nothing_grows_past_its_bound() {
        let directory = directory("rotation");
        let mut log = Rotating::new(directory.join("q.log"), 100, 3);
        for n in 0..100 {
            // Twelve bytes a line, three lines at once.
            let lines: String = (0..3).map(|part| format!("{n:08}-{part}x\n")).collect();
            let written = log.write(lines.as_bytes());
            assert_eq!((written.lines, written.failure.is_none()), (3, true));
        }
        let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        assert_eq!(names, ["q.log", "q.log.1", "q.log.2"].map(|name| directory.join(name)));
        let mut all = String::new();
        for name in names.iter().rev() {
            let text = fs::read_to_string(name).unwrap();
            assert!(text.len() <= 100 && text.ends_with('\n'), "{name:?}: {}", text.len());
            all.push_str(&text);
        }
        assert!(all.ends_with("00000099-0x\n00000099-1x\n00000099-2x\n"));
        assert!(all.lines().all(|line| line.len() == 11) && all.lines().count() > 16);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn one_file_begins_anew_and_a_long_line_is_alone() {
        let directory = directory("single");
        let mut log = Rotating::new(directory.join("q.log"), 20, 1);
        let long = format!("{}\n", "x".repeat(50));
        for line in ["first\n", "second\n", &long, "last\n"] {
            assert_eq!(log.write(line.as_bytes()).lines, 1);
        }
        assert_eq!(fs::read_to_string(directory.join("q.log")).unwrap(), "last\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_disk_and_a_directory_that_is_gone_are_failures_and_end() {
        let mut full = Rotating::new("/dev/full".into(), 1 << 20, 2);
        let written = full.write(b"a\nb\n");
        assert_eq!(written.lines, 0);
        assert_eq!(written.failure.unwrap().kind(), io::ErrorKind::StorageFull);
        let directory = directory("gone");
        let mut log = Rotating::new(directory.join("q.log"), 1 << 20, 2);
        assert_eq!(log.write(b"a\n").lines, 1);
        fs::remove_dir_all(&directory).unwrap();
        log.reopen();
        assert_eq!(log.write(b"b\n").failure.unwrap().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&directory).unwrap();
        assert_eq!(log.write(b"c\n").lines, 1);
        assert_eq!(fs::read_to_string(directory.join("q.log")).unwrap(), "c\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn half_a_line_of_before_does_not_spoil_the_next() {
        use std::os::unix::fs::PermissionsExt;
        let directory = directory("half");
        let path = directory.join("q.log");
        fs::write(&path, "{\"sql\": \"sel").unwrap();
        let mut log = Rotating::new(path.clone(), 1 << 20, 2);
        assert_eq!(log.write(b"whole\n").lines, 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"sql\": \"sel\nwhole\n");
        fs::rename(&path, directory.join("aside")).unwrap();
        log.reopen();
        log.write(b"new\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(directory).unwrap();
    }
}
