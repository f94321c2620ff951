//! What the demo prints.

use std::io::Write;
use std::time::Duration;

/// One line to whoever watches.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// One line to whoever looks for mistakes.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// One thing that was done and what it cost.
pub(super) struct Line {
    what: String,
    time: Option<Duration>,
    outcome: String,
}

/// A part of the story: what was tried, what it cost, and whether it went as promised.
pub(super) struct Act {
    title: &'static str,
    /// What pgsluice does about it, in a few words.
    promise: &'static str,
    lines: Vec<Line>,
    /// Answers worth reading in full.
    quotes: Vec<String>,
    mistakes: Vec<String>,
}

impl Act {
    pub(super) fn new(title: &'static str, promise: &'static str) -> Self {
        Self { title, promise, lines: Vec::new(), quotes: Vec::new(), mistakes: Vec::new() }
    }

    pub(super) fn line(&mut self, what: &str, time: Option<Duration>, outcome: impl Into<String>) {
        self.lines.push(Line { what: what.to_owned(), time, outcome: outcome.into() });
    }

    pub(super) fn quote(&mut self, text: String) {
        self.quotes.push(text);
    }

    /// Notes what did not go as promised.
    pub(super) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.mistakes.push(otherwise());
        }
    }

    pub(super) fn went_well(&self) -> bool {
        self.mistakes.is_empty()
    }

    pub(super) fn print(&self, number: usize) {
        say(&format!("\n{number}. {}", self.title));
        say(&format!("   {}\n", self.promise));
        for line in &self.lines {
            let time = line.time.map(milliseconds).unwrap_or_default();
            say(&format!("   {:<44} {time:>11}   {}", line.what, line.outcome));
        }
        for quote in &self.quotes {
            say("");
            quote.lines().for_each(|l| say(&format!("      {l}")));
        }
        for mistake in &self.mistakes {
            say(&format!("\n   NOT AS PROMISED: {mistake}"));
        }
    }
}

/// `1,234.5 ms`
pub(super) fn milliseconds(time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    format!("{}.{} ms", thousands(u64::try_from(tenths / 10).unwrap_or(u64::MAX)), tenths % 10)
}

/// `1,234,567`
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line an act.
pub(super) fn summary(acts: &[Act]) {
    say("\nIn short\n");
    for (n, act) in acts.iter().enumerate() {
        let outcome = if act.went_well() { "as promised" } else { "NOT AS PROMISED" };
        say(&format!("   {}. {:<62} {outcome}", n + 1, act.title));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(milliseconds(Duration::from_micros(1_234_567)), "1,234.5 ms");
    }
}
