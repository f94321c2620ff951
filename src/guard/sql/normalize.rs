//! A text for people: one line, comments gone, literals as `$n`.

use super::lexer::{Kind, Lexer};

/// Ends a text that was cut.
const CUT: &str = "…";

/// At most `max_len` bytes. Literals are numbered after the text's own parameters, as
/// `pg_stat_statements` does. What cannot be read is cut off, so that no literal is ever shown.
pub(super) fn normalized(text: &[u8], standard_conforming_strings: bool, max_len: usize) -> String {
    let mut number = highest_parameter(text, standard_conforming_strings);
    let mut lexer = Lexer::new(text, standard_conforming_strings);
    let mut out = String::with_capacity(text.len().min(max_len));
    let mut before = 0;
    let mut semicolon = false;
    loop {
        let token = match lexer.next() {
            Ok(Some(token)) => token,
            Ok(None) => return out,
            Err(_) => return cut(out, max_len),
        };
        if token.kind == Kind::Punct(b';') {
            // Only between statements: a trailing one is no part of them.
            semicolon = !out.is_empty();
            continue;
        }
        let from = out.len();
        if std::mem::take(&mut semicolon) {
            out.push_str("; ");
        } else if from > 0 && token.start > before {
            out.push(' ');
        }
        before = token.end;
        match token.kind {
            Kind::Str { .. }
            | Kind::UnicodeStr
            | Kind::National
            | Kind::Bits
            | Kind::Hex
            | Kind::Dollar
            | Kind::Integer
            | Kind::Number => {
                number += 1;
                out.push('$');
                out.push_str(&number.to_string());
            }
            _ => {
                // The rest of the bound is enough: more would be cut anyway.
                let end = token.end.min(token.start + max_len + 4);
                out.push_str(&String::from_utf8_lossy(text.get(token.start..end).unwrap_or_default()));
            }
        }
        if out.len() > max_len {
            out.truncate(from);
            return cut(out, max_len);
        }
    }
}

fn cut(mut out: String, max_len: usize) -> String {
    let mut keep = out.len().min(max_len.saturating_sub(CUT.len()));
    while !out.is_char_boundary(keep) {
        keep -= 1;
    }
    out.truncate(keep);
    if max_len >= CUT.len() {
        out.push_str(CUT);
    }
    out
}

fn highest_parameter(text: &[u8], standard_conforming_strings: bool) -> u32 {
    let mut dollars = memchr::memchr_iter(b'$', text);
    if !dollars.any(|at| text.get(at + 1).is_some_and(u8::is_ascii_digit)) {
        return 0;
    }
    let mut lexer = Lexer::new(text, standard_conforming_strings);
    let mut highest = 0;
    while let Ok(Some(token)) = lexer.next() {
        if token.kind == Kind::Param {
            let digits = text.get(token.start + 1..token.end).unwrap_or_default();
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok());
            // Numbers past the protocol's 65,535 parameters are nonsense, and must not overflow.
            highest = highest.max(number.unwrap_or(0).min(1 << 16));
        }
    }
    highest
}
