//! Tags that a program puts into a comment, as sqlcommenter specifies them: `/*route='%2Forders',db_driver='pg'*/`.

/// Most tags that are kept.
const MAX_TAGS: usize = 32;
/// Longest `key=value` that is kept, decoded, in bytes: a longer one is cut.
const MAX_TAG: usize = 256;

/// The tags in a block comment; none unless all of it is tags.
pub(super) fn of(comment: &[u8]) -> Vec<String> {
    let Some(text) = std::str::from_utf8(comment).ok().map(str::trim) else { return Vec::new() };
    let mut rest = text;
    let mut tags = Vec::new();
    while !rest.is_empty() {
        let Some((tag, after)) = tag(rest) else { return Vec::new() };
        if tags.len() < MAX_TAGS {
            tags.push(tag);
        }
        rest = after;
    }
    tags
}

/// The first tag as `key=value`, and what follows its comma.
fn tag(text: &str) -> Option<(String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let key = key.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~%".contains(c);
    if key.is_empty() || !key.chars().all(plain) {
        return None;
    }
    let rest = rest.strip_prefix('\'')?;
    let mut value = String::new();
    let mut chars = rest.char_indices();
    let end = loop {
        match chars.next()? {
            (at, '\'') => break at,
            (_, '\\') => value.push(chars.next()?.1),
            (_, other) => value.push(other),
        }
    };
    let after = rest.get(end + 1..)?.trim_start();
    let after = match after.strip_prefix(',') {
        Some(more) => Some(more.trim_start()).filter(|more| !more.is_empty())?,
        None => Some(after).filter(|after| after.is_empty())?,
    };
    Some((bounded(&(decoded(key) + "=" + &decoded(&value))), after))
}

/// As much of a text as a fact keeps.
pub(super) fn bounded(text: &str) -> String {
    let cut = (0..=MAX_TAG.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..cut).unwrap_or_default().to_owned()
}

/// Percent signs with two hexadecimal digits behind them are bytes; control characters become blanks.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_decoded() {
        let text = br"action='%2Fpolls%2F1',controller='index',name=''";
        assert_eq!(of(text), ["action=/polls/1", "controller=index", "name="]);
        assert_eq!(
            of(br" traceparent='00-5b-01' , q='it\'s%20%22%C3%A4%22' "),
            ["traceparent=00-5b-01", "q=it's \"ä\""]
        );
        assert_eq!(of(b"a%3Db='%0a%zz%'"), ["a=b= %zz%"]);
    }

    #[test]
    fn other_comments_are_none() {
        for text in [
            "",
            "hello",
            "a=1",
            "a='1', and more",
            "a='1'b='2'",
            "a='1",
            "='1'",
            "a b='1'",
            "a='1',",
            "+ HINT a='1'",
        ] {
            assert_eq!(of(text.as_bytes()), [""; 0], "{text}");
        }
        assert_eq!(of(b"a='\xff'"), [""; 0]);
    }

    #[test]
    fn tags_are_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("k{n}='{}'", "%C3%A4".repeat(500))).collect();
        let tags = of(many.join(",").as_bytes());
        assert_eq!(tags.len(), MAX_TAGS);
        assert!(tags.iter().all(|tag| tag.len() <= MAX_TAG && tag.contains('ä')));
    }
}
