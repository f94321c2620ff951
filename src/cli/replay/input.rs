//! Files, standard input and what gzip made of them, read once from end to end.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::document::Problem;
use crate::replay::{Entry, Format, Item, Options, Reader, detect};

/// Read at once.
const CHUNK: usize = 256 << 10;
/// Enough to tell a format by.
const SAMPLE: usize = 64 << 10;
/// Broken lines that are shown of each file.
const SHOWN: usize = 5;

/// All logs, open.
pub(super) struct Inputs {
    pub(super) files: Vec<Input>,
    /// Of all; 0 if one does not tell.
    bytes: u64,
}

/// One log.
pub(super) struct Input {
    name: String,
    source: Box<dyn io::Read>,
    /// Bytes taken from it as it lies there.
    taken: Rc<Cell<u64>>,
}

/// What was read of a log.
#[derive(Debug, Serialize)]
pub(super) struct Read {
    pub(super) file: String,
    pub(super) format: &'static str,
    pub(super) lines: u64,
    /// Within --since and --until.
    pub(super) statements: u64,
    /// Outside of --since and --until.
    pub(super) left_out: u64,
    /// Records or lines that could not be read.
    pub(super) broken: u64,
    /// The first of them.
    pub(super) faults: Vec<Fault>,
    /// Durations whose statement is not in the log.
    pub(super) bare_durations: u64,
    /// A time zone that is not known and was taken for UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown_zone: Option<String>,
}

/// A place that could not be read.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) why: &'static str,
}

struct Counted<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

impl Inputs {
    /// Opens all, or says which can't be.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, Vec<Problem>> {
        let (mut files, mut problems, mut bytes) = (Vec::new(), Vec::new(), Some(0));
        for path in paths {
            match Input::open(path) {
                Ok((file, size)) => {
                    files.push(file);
                    bytes = bytes.zip(size).map(|(sum, size)| sum + size);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Self { files, bytes: bytes.unwrap_or(0) }) } else { Err(problems) }
    }

    /// A bar on a terminal, nothing elsewhere.
    pub(super) fn progress(&self) -> ProgressBar {
        let template = if self.bytes == 0 {
            "{spinner} {bytes} {binary_bytes_per_sec}  {msg}"
        } else {
            "{wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} to go  {msg}"
        };
        let bar = if self.bytes == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(self.bytes) };
        bar.with_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
    }
}

impl Input {
    /// And its size, if it has one.
    fn open(path: &Path) -> Result<(Self, Option<u64>), Problem> {
        let taken = Rc::new(Cell::new(0));
        let (name, raw, size): (_, Box<dyn io::Read>, _) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), Box::new(io::stdin()), None)
        } else {
            let name = path.display().to_string();
            let fault = |error: io::Error| Problem::new(format!("cannot read {name}: {error}"));
            let file = File::open(path).map_err(fault)?;
            let meta = file.metadata().map_err(fault)?;
            if meta.is_dir() {
                let problem = Problem::new(format!("{name} is a directory"));
                return Err(problem.cure("name the log files in it"));
            }
            (name.clone(), Box::new(file), meta.is_file().then_some(meta.len()))
        };
        let mut raw = Counted { inner: raw, taken: Rc::clone(&taken) };
        let mut head = Vec::new();
        let fault = |error: io::Error| Problem::new(format!("cannot read {name}: {error}"));
        raw.by_ref().take(2).read_to_end(&mut head).map_err(fault)?;
        let zipped = head == [0x1f, 0x8b];
        let whole = io::Cursor::new(head).chain(raw);
        let source: Box<dyn io::Read> =
            if zipped { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok((Self { name, source, taken }, size))
    }

    /// Reads it to its end and gives each statement to `take`, which says whether it was wanted.
    pub(super) fn read(
        mut self,
        format: Option<Format>,
        options: &Options,
        progress: &ProgressBar,
        take: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<Read, Problem> {
        progress.set_message(self.name.clone());
        let mut sample = Vec::new();
        let cut = self.source.by_ref().take(SAMPLE as u64).read_to_end(&mut sample);
        cut.map_err(|error| self.fault(&error))?;
        let Some(format) = format.or_else(|| detect(&sample)).or(sample.is_empty().then_some(Format::Stderr))
        else {
            let problem = Problem::new(format!("the format of {} is not known", self.name));
            let names = Format::NAMES.map(|(name, _)| name).join(", ");
            return Err(problem.cure(format!("give --format: {names}")));
        };
        let mut reader = Reader::new(format, options);
        let mut read = Read {
            file: self.name.clone(),
            format: format.name(),
            lines: 0,
            statements: 0,
            left_out: 0,
            broken: 0,
            faults: Vec::new(),
            bare_durations: 0,
            unknown_zone: None,
        };
        reader.push(&sample);
        read.drain(&mut reader, take);
        let (mut buffer, mut shown) = (vec![0; CHUNK], 0);
        loop {
            let count = match self.source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The rest of a file that was cut, as an archive can be, is missing; what came before counts.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    read.fault(reader.lines() + 1, "the compressed file ends too soon");
                    break;
                }
                Err(error) => return Err(self.fault(&error)),
            };
            reader.push(&buffer[..count]);
            read.drain(&mut reader, take);
            progress.inc(self.taken.get() - shown);
            shown = self.taken.get();
        }
        reader.end();
        read.drain(&mut reader, take);
        read.lines = reader.lines();
        read.bare_durations = reader.bare_durations();
        read.unknown_zone = reader.unknown_zone().map(str::to_owned);
        Ok(read)
    }

    fn fault(&self, error: &io::Error) -> Problem {
        Problem::new(format!("cannot read {}: {error}", self.name))
    }
}

impl Read {
    fn drain(&mut self, reader: &mut Reader, take: &mut dyn FnMut(&Entry) -> bool) {
        while let Some(item) = reader.next() {
            match item {
                Item::Entry(entry) if take(&entry) => self.statements += 1,
                Item::Entry(_) => self.left_out += 1,
                Item::Broken(broken) => self.fault(broken.line, broken.why),
            }
        }
    }

    fn fault(&mut self, line: u64, why: &'static str) {
        self.broken += 1;
        if self.faults.len() < SHOWN {
            self.faults.push(Fault { line, why });
        }
    }
}
