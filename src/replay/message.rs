//! What PostgreSQL says of a statement: `duration: 1.234 ms  execute s1: SELECT …`, `parameters: $1 = '…'`.

/// A message about a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said<'a> {
    /// A statement, before it runs (`log_statement`) or after (`log_min_duration_statement`).
    Statement { sql: &'a [u8], seconds: Option<f64> },
    /// More rows of a portal.
    Fetch { sql: &'a [u8], seconds: Option<f64> },
    /// How long what was said last took.
    Duration(f64),
    /// Of no interest.
    Other,
}

/// Reads a message of level LOG.
pub(super) fn read(message: &[u8]) -> Said<'_> {
    let Some(rest) = message.strip_prefix(b"duration: ") else {
        return statement(message, None);
    };
    let Some((number, rest)) = split_at(rest, b" ms") else { return Said::Other };
    let seconds = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
    let Some(seconds) = seconds.filter(|ms| ms.is_finite() && *ms >= 0.0).map(|ms| ms / 1000.0) else {
        return Said::Other;
    };
    if rest.is_empty() {
        return Said::Duration(seconds);
    }
    statement(rest.trim_ascii_start(), Some(seconds))
}

fn statement(text: &[u8], seconds: Option<f64>) -> Said<'_> {
    if let Some(sql) = text.strip_prefix(b"statement: ") {
        return Said::Statement { sql, seconds };
    }
    let Some(rest) = text.strip_prefix(b"execute ") else { return Said::Other };
    let fetch = rest.strip_prefix(b"fetch from ");
    match (split_at(fetch.unwrap_or(rest), b": "), fetch) {
        (Some((_, sql)), Some(_)) => Said::Fetch { sql, seconds },
        (Some((_, sql)), None) => Said::Statement { sql, seconds },
        (None, _) => Said::Other,
    }
}

fn split_at<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(text, mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

/// The protocol has no more.
const MAX_PARAMS: usize = 65_535;

/// Values from `parameters: $1 = 'x', $2 = NULL`, which may stand behind other words (a CONTEXT). `None` if there are
/// none, or they can't be read.
pub(super) fn params(text: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    // The first letter's case differs from version to version.
    let mut rest = split_at(text, b"arameters: ")?.1;
    let mut values = Vec::new();
    loop {
        let number = rest.strip_prefix(b"$")?;
        let (number, value) = split_at(number, b" = ")?;
        let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
        if number != values.len() + 1 || number > MAX_PARAMS {
            return None;
        }
        let end = if let Some(quoted) = value.strip_prefix(b"'") {
            let (text, end) = quoted_value(quoted)?;
            values.push(Some(text));
            end + 1
        } else {
            value.starts_with(b"NULL").then_some(())?;
            values.push(None);
            4
        };
        match value.get(end..)?.strip_prefix(b", ") {
            Some(more) => rest = more,
            None => return Some(values),
        }
    }
}

/// To the quote that is not doubled; and how far that is, the quote included.
fn quoted_value(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut value, mut at) = (Vec::new(), 0);
    loop {
        let rest = text.get(at..)?;
        let quote = memchr::memchr(b'\'', rest)?;
        value.extend_from_slice(rest.get(..quote)?);
        at += quote + 1;
        if text.get(at) != Some(&b'\'') {
            return Some((value, at));
        }
        value.push(b'\'');
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_and_durations_are_told_apart() {
        let seconds = Some(0.001_5);
        let cases: [(&str, Said<'_>); 12] = [
            ("statement: SELECT 1", Said::Statement { sql: b"SELECT 1", seconds: None }),
            ("duration: 1.500 ms  statement: SELECT 1", Said::Statement { sql: b"SELECT 1", seconds }),
            ("execute <unnamed>: SELECT $1", Said::Statement { sql: b"SELECT $1", seconds: None }),
            (
                "duration: 1.500 ms  execute s1/p: SELECT ': '",
                Said::Statement { sql: b"SELECT ': '", seconds },
            ),
            (
                "duration: 1.500 ms  execute fetch from s1/p: SELECT 1",
                Said::Fetch { sql: b"SELECT 1", seconds },
            ),
            ("duration: 1.500 ms", Said::Duration(0.001_5)),
            ("duration: 1.500 ms  parse <unnamed>: SELECT 1", Said::Other),
            ("duration: 1.500 ms  bind <unnamed>: SELECT 1", Said::Other),
            ("duration: 1.500 ms  plan:\nQuery Text: SELECT 1", Said::Other),
            ("duration: NaN ms", Said::Other),
            ("checkpoint starting: time", Said::Other),
            ("execute", Said::Other),
        ];
        for (message, expected) in cases {
            assert_eq!(read(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn parameters_are_read_with_their_quotes() {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(params(b"parameters: $1 = '1', $2 = NULL"), Some(vec![some("1"), None]));
        assert_eq!(params(b"Parameters: $1 = 'it''s, $2 = '"), Some(vec![some("it's, $2 = ")]));
        assert_eq!(params(b"unnamed portal with parameters: $1 = ''"), Some(vec![some("")]));
        assert_eq!(params(b"parameters: $1 = 'a\nb'"), Some(vec![some("a\nb")]));
        for bad in [
            "",
            "parameters: ",
            "parameters: $1 = 'a",
            "parameters: $2 = 'a'",
            "parameters: $1 = x",
            "prepare: $1",
        ] {
            assert_eq!(params(bad.as_bytes()), None, "{bad}");
        }
    }
}
