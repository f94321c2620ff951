//! PgBouncer's `auth_file`: `"user" "secret"` a line, the secret being a SCRAM verifier, an md5 hash or a password.
//!
//! Quotes inside are doubled. Empty lines and lines that begin with `;` or `#` are skipped, and what follows the
//! secret on its line is not looked at, as in PgBouncer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::config::Secret;

/// Largest file read, in bytes: some hundred thousand users.
const MAX_BYTES: u64 = 64 << 20;

/// User names and their secrets as written.
pub type Users = HashMap<Box<str>, Secret>;

/// What is wrong with the file, and where.
#[derive(Debug, thiserror::Error)]
pub enum UserlistError {
    #[error("auth_file {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("auth_file {}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: &'static str },
}

/// Reads the file whole.
///
/// # Errors
/// [`UserlistError`]; it never repeats a secret.
pub fn load(path: &Path) -> Result<Users, UserlistError> {
    let read = || {
        if std::fs::metadata(path)?.len() > MAX_BYTES {
            return Err(std::io::Error::other(format!("larger than {MAX_BYTES} bytes")));
        }
        std::fs::read_to_string(path)
    };
    let text = read().map_err(|source| UserlistError::File { path: path.into(), source })?;
    parse(&text).map_err(|(line, problem)| UserlistError::Line { path: path.into(), line, problem })
}

/// Reads the text of a file; an error is a line, from 1, and what is wrong there.
///
/// # Errors
/// If a line is not `"user" "secret"`, or names a user again.
pub fn parse(text: &str) -> Result<Users, (usize, &'static str)> {
    let mut users = Users::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let at = |problem| (number + 1, problem);
        let (user, rest) = quoted(line).ok_or(at("expected \"user\" in double quotes"))?;
        let (secret, _) = quoted(rest.trim_start()).ok_or(at("expected \"secret\" in double quotes"))?;
        if user.is_empty() {
            return Err(at("the user's name is empty"));
        }
        if users.insert(user.into(), Secret::new(secret)).is_some() {
            return Err(at("this user stands in the file already"));
        }
    }
    Ok(users)
}

/// A text in double quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_line() {
        let text =
            "; users\n\n  \"ann\" \"pa ss\"\n\"b\"\"ob\"\t\"x\"\"y\" \"\" ignored\r\n# more\n\"eve\" \"\"\n";
        let users = parse(text).unwrap();
        assert_eq!(users.len(), 3);
        assert_eq!(users["ann"].expose(), "pa ss");
        assert_eq!(users["b\"ob"].expose(), "x\"y");
        assert_eq!(users["eve"].expose(), "");
    }

    #[test]
    fn errors_name_the_line_and_no_secret() {
        for (text, line) in [
            ("\"a\" \"b\"\nann pass", 2),
            ("\"a\" geheim", 1),
            ("\"a\" \"geheim", 1),
            ("\"\" \"geheim\"", 1),
            ("\"a\" \"1\"\n\n\"a\" \"geheim\"", 3),
        ] {
            let (at, problem) = parse(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(!problem.contains("geheim"));
        }
    }

    proptest! {
        #[test]
        fn names_and_secrets_round_trip(user in "[^\r\n]{1,20}", secret in "[^\r\n]{0,20}") {
            let line = format!("\"{}\" \"{}\"", user.replace('"', "\"\""), secret.replace('"', "\"\""));
            let users = parse(&line).unwrap();
            prop_assert_eq!(users[user.as_str()].expose(), secret);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[\"a; \n]{0,40}") {
            let _ = parse(&text);
        }
    }
}
