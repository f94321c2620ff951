//! Where relayed bytes go: a run of the input as long as nothing was cut out or put in, else a copy.

use std::ops::Range;

/// Collects what leaves in one write. The common case, everything passes, copies nothing.
#[derive(Debug)]
pub struct Outlet<'a> {
    input: &'a [u8],
    run: Range<usize>,
    spill: &'a mut Vec<u8>,
    spilled: bool,
}

impl<'a> Outlet<'a> {
    /// `spill` is a reused buffer; what it held is forgotten.
    pub fn new(input: &'a [u8], spill: &'a mut Vec<u8>) -> Self {
        spill.clear();
        Self { input, run: 0..0, spill, spilled: false }
    }

    /// What is relayed.
    #[must_use]
    #[inline]
    pub fn input(&self) -> &'a [u8] {
        self.input
    }

    /// Passes a range of the input on.
    #[inline]
    pub fn pass(&mut self, range: Range<usize>) {
        if self.spilled {
            self.spill.extend_from_slice(self.input.get(range).unwrap_or_default());
        } else if self.run.is_empty() {
            self.run = range;
        } else if self.run.end == range.start {
            self.run.end = range.end;
        } else {
            self.start_spill();
            self.spill.extend_from_slice(self.input.get(range).unwrap_or_default());
        }
    }

    /// Adds bytes of our own.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.spilled {
            self.start_spill();
        }
        write(self.spill);
    }

    fn start_spill(&mut self) {
        self.spilled = true;
        self.spill.extend_from_slice(self.input.get(self.run.clone()).unwrap_or_default());
    }

    /// What is to be written.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        if self.spilled { self.spill } else { self.input.get(self.run.clone()).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_runs_are_not_copied() {
        let mut spill = Vec::new();
        let mut o = Outlet::new(b"abcdef", &mut spill);
        o.pass(0..2);
        o.pass(2..5);
        assert_eq!(o.bytes(), b"abcde");
        assert!(!o.spilled);
    }

    #[test]
    fn gaps_and_additions_keep_the_order() {
        let mut spill = b"old".to_vec();
        let mut o = Outlet::new(b"abcdef", &mut spill);
        o.pass(0..1);
        o.add(|v| v.push(b'X'));
        o.pass(3..4);
        o.pass(5..6);
        assert_eq!(o.bytes(), b"aXdf");
    }

    #[test]
    fn an_addition_may_come_first() {
        let mut spill = Vec::new();
        let mut o = Outlet::new(b"abc", &mut spill);
        o.add(|v| v.push(b'X'));
        o.pass(0..3);
        assert_eq!(o.bytes(), b"Xabc");
    }
}
