//! Numbers, times and texts for people.

/// `1,234,567`
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2 ms`, `3.4 s`, `5 min 6 s`, `7 h 8 min`
pub(super) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// `12.3 %`; what is not nothing never shows as nothing.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p > 0.0 && p < 0.1 => "<0.1 %".to_owned(),
        p => format!("{p:.1} %"),
    }
}

/// On one line, without what would move the cursor, cut at so many characters.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.take(most).collect();
    if text.chars().nth(most).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// Columns of the terminal that standard output is.
pub(super) fn terminal_width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_col).clamp(60, 240)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_readable() {
        assert_eq!((thousands(7).as_str(), thousands(1_234_567).as_str()), ("7", "1,234,567"));
        let times = [0.000_05, 0.012, 2.34, 61.0, 7_384.0].map(seconds);
        assert_eq!(times, ["50 µs", "12.0 ms", "2.3 s", "1 min 1 s", "2 h 3 min"]);
        assert_eq!([0.0, 0.000_1, 0.5].map(percent), ["0.0 %", "<0.1 %", "50.0 %"]);
        assert_eq!(one_line("a\n\u{1b}[2Jbcdef", 6), "a  [2…");
    }
}
