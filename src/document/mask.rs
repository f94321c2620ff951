//! Stars over passwords in a settings file, before any line of it is shown.

/// The text with everything that may be a password replaced by `*`, byte for byte, so that spans still fit.
///
/// It works line by line and rather hides too much: from the `:` after `://` (or the first `:`) to
/// the last `@`, and the rest of a
/// line after `password` and `=`. The file may not even be TOML.
pub(super) fn passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (mut from, mut to) = (line.len(), line.len());
        if let Some(at) = line.rfind('@') {
            let login = line.find("://").map_or(0, |scheme| scheme + "://".len());
            // A `:` that never comes leaves only a user name before the `@`.
            if let Some(colon) =
                line[login..].find(':').map(|offset| login + offset + 1).filter(|colon| *colon < at)
            {
                (from, to) = (colon, at);
            }
        }
        let lower = line.to_ascii_lowercase();
        let assigned =
            lower.find("password").and_then(|word| lower[word..].find('=').map(|equals| word + equals + 1));
        if let Some(equals) = assigned {
            (from, to) = (from.min(equals), line.trim_end().len().max(equals));
        }
        for (offset, c) in line.char_indices() {
            if (from..to).contains(&offset) {
                out.extend(std::iter::repeat_n('*', c.len_utf8()));
            } else {
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_become_stars_and_lengths_stay() {
        for (line, shown) in [
            ("p = \"postgres://u:pw@h/d\"\nx = 1\n", "p = \"postgres://u:**@h/d\"\nx = 1\n"),
            ("p = \"postgres://u:p@w@h/d\"", "p = \"postgres://u:***@h/d\""),
            ("p = \"host=h password=pw user=u\"", "p = \"host=h password=**********"),
            ("p = \"postgres://h/d?password=pw\"", "p = \"postgres://h/d?password=***"),
            (
                "r = [\"postgres://u:a@h\", \"postgres://u:b@i\"]",
                "r = [\"postgres://u:*********************@i\"]",
            ),
            ("p = \"postgres://u:ä@h\"", "p = \"postgres://u:**@h\""),
            ("p = \"u:pw@h\"", "p = \"u:**@h\""),
            ("p = \"postgres://u@h:5432/d\"", "p = \"postgres://u@h:5432/d\""),
        ] {
            let masked = passwords(line);
            assert_eq!(masked, shown);
            assert_eq!(masked.len(), line.len());
        }
    }
}
