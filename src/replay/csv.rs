//! Records of a CSV file (RFC 4180), strictly: what follows a closing quote must be a comma or a line's end. A log that
//! was cut in the middle of a record shows itself there at once, and the next record is found again.

use std::ops::Range;

/// A larger record is taken for a quote that never ends.
pub(super) const MAX_RECORD: usize = 16 << 20;

/// What stands at the beginning of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It ends beyond the buffer.
    More,
    /// A record of that many bytes and lines, in [`Record`].
    Record { bytes: usize, lines: u64 },
    /// No record; the fault is that far in.
    Broken { bytes: usize, why: &'static str },
}

/// The fields of one record, unescaped.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: Vec<u8>,
    fields: Vec<Range<usize>>,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field; empty if there is none.
    pub(super) fn get(&self, n: usize) -> &[u8] {
        self.fields.get(n).and_then(|range| self.text.get(range.clone())).unwrap_or_default()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.fields.len() <= 1 && self.text.is_empty()
    }

    /// Reads the record at the beginning of a buffer. `ended`: nothing follows it.
    pub(super) fn read(&mut self, buffer: &[u8], ended: bool) -> Step {
        self.text.clear();
        self.fields.clear();
        let (mut at, mut lines) = (0, 0);
        loop {
            let start = self.text.len();
            let end = match buffer.get(at) {
                Some(b'"') => match self.quoted(buffer, at + 1, ended, &mut lines) {
                    Ok(end) => end,
                    Err(step) => return step,
                },
                _ => match self.bare(buffer, at, ended) {
                    Some(end) => end,
                    None => return self.unfinished(buffer),
                },
            };
            self.fields.push(start..self.text.len());
            match buffer.get(end) {
                Some(b',') => at = end + 1,
                Some(b'\r') if buffer.get(end + 1) == Some(&b'\n') => {
                    return Step::Record { bytes: end + 2, lines: lines + 1 };
                }
                Some(b'\n') => return Step::Record { bytes: end + 1, lines: lines + 1 },
                None => return Step::Record { bytes: end, lines: lines + 1 },
                Some(_) => {
                    return Step::Broken {
                        bytes: end,
                        why: "text behind a closing quote: a part is missing before",
                    };
                }
            }
        }
    }

    fn unfinished(&self, buffer: &[u8]) -> Step {
        if buffer.len() < MAX_RECORD {
            return Step::More;
        }
        Step::Broken { bytes: buffer.len(), why: "a record of more than 16 MB" }
    }

    /// From behind the opening quote to behind the closing one.
    fn quoted(&mut self, buffer: &[u8], mut at: usize, ended: bool, lines: &mut u64) -> Result<usize, Step> {
        loop {
            let rest = buffer.get(at..).unwrap_or_default();
            let Some(quote) = memchr::memchr(b'"', rest) else {
                if ended {
                    return Err(Step::Broken { bytes: buffer.len(), why: "a quote that never ends" });
                }
                return Err(self.unfinished(buffer));
            };
            let part = &rest[..quote];
            *lines += memchr::memchr_iter(b'\n', part).count() as u64;
            self.text.extend_from_slice(part);
            at += quote + 1;
            match buffer.get(at) {
                Some(b'"') => {
                    self.text.push(b'"');
                    at += 1;
                }
                Some(b'\r') if buffer.get(at + 1).is_none() && !ended => return Err(self.unfinished(buffer)),
                None if !ended => return Err(self.unfinished(buffer)),
                _ => return Ok(at),
            }
        }
    }

    /// To the comma or the line's end; `None` if it may go on.
    fn bare(&mut self, buffer: &[u8], at: usize, ended: bool) -> Option<usize> {
        let rest = buffer.get(at..).unwrap_or_default();
        let end = match memchr::memchr2(b',', b'\n', rest) {
            Some(end) => end,
            None if ended => rest.len(),
            None => return None,
        };
        let line_ends = rest.get(end) == Some(&b'\n') && end > 0 && rest.get(end - 1) == Some(&b'\r');
        let end = if line_ends { end - 1 } else { end };
        self.text.extend_from_slice(rest.get(..end).unwrap_or_default());
        Some(at + end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Vec<String>> {
        let (mut at, mut records, mut record) = (0, Vec::new(), Record::default());
        while at < text.len() {
            match record.read(&text.as_bytes()[at..], true) {
                Step::Record { bytes, .. } => {
                    at += bytes;
                    let field = |n| String::from_utf8_lossy(record.get(n)).into_owned();
                    records.push((0..record.len()).map(field).collect());
                }
                step => panic!("{step:?} at {at}"),
            }
        }
        records
    }

    #[test]
    fn quotes_commas_and_line_ends_are_read() {
        let records = all("a,\"b,\"\"c\"\"\nd\",,\"\"\r\nx,y\r\nlast,\"q\"");
        assert_eq!(records, [vec!["a", "b,\"c\"\nd", "", ""], vec!["x", "y"], vec!["last", "q"]]);
    }

    #[test]
    fn a_record_that_goes_on_waits_for_the_rest() {
        let mut record = Record::default();
        let text = b"a,\"b\nc\"\"d\"\ne";
        for end in 0..text.len() - 2 {
            assert_eq!(record.read(&text[..end], false), Step::More, "{end}");
        }
        assert_eq!(record.read(text, false), Step::Record { bytes: 11, lines: 2 });
        assert_eq!(record.get(1), b"b\nc\"d");
    }

    #[test]
    fn a_torn_record_shows_at_the_next_quote() {
        let mut record = Record::default();
        let torn = b"2026,\"app\",\"sta\n2026,\"app\",\"statement\"\n";
        assert!(
            matches!(record.read(torn, false), Step::Broken { bytes: 22, .. }),
            "{:?}",
            record.read(torn, false)
        );
        assert!(matches!(record.read(b"a,\"b", true), Step::Broken { .. }));
    }
}
