//! Views of the messages a client sends. `None` is a body that is not exactly its message.

use super::reply::message;

fn cstr(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(body)?;
    Some((body.get(..end)?, body.get(end + 1..)?))
}

fn memchr(b: &[u8]) -> Option<usize> {
    b.iter().position(|&c| c == 0)
}

fn be_u16(b: &[u8]) -> Option<(u16, &[u8])> {
    let (h, rest) = b.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*h), rest))
}

fn be_i32(b: &[u8]) -> Option<(i32, &[u8])> {
    let (h, rest) = b.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*h), rest))
}

/// `Query`: the text without its NUL.
#[must_use]
pub fn query(body: &[u8]) -> Option<&[u8]> {
    let (text, rest) = cstr(body)?;
    rest.is_empty().then_some(text)
}

/// `Parse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    /// Text, NUL, type count and type OIDs as sent: what identifies the statement, whatever its name.
    pub tail: &'a [u8],
}

#[must_use]
pub fn parse(body: &[u8]) -> Option<Parse<'_>> {
    let (name, tail) = cstr(body)?;
    let (text, rest) = cstr(tail)?;
    let (types, rest) = be_u16(rest)?;
    (rest.len() == usize::from(types) * 4).then_some(Parse { name, text, tail })
}

/// `Bind`, as far as its names. The rest is read by [`BindValues`] where a rule needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// Everything behind the names.
    pub rest: &'a [u8],
}

/// `body` may be cut off behind the names: a Bind with large values is streamed, not stored.
#[must_use]
pub fn bind(body: &[u8]) -> Option<Bind<'_>> {
    let (portal, rest) = cstr(body)?;
    let (statement, rest) = cstr(rest)?;
    Some(Bind { portal, statement, rest })
}

/// The parameters of a whole Bind's [`Bind::rest`], in order: `None` is NULL. It ends early at one that is malformed.
///
/// Text and binary format of text-like types are the same bytes, so no format is needed to look at a pattern.
#[derive(Clone, Debug)]
pub struct BindValues<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> BindValues<'a> {
    #[must_use]
    pub fn of(rest: &'a [u8]) -> Option<Self> {
        let (formats, rest) = be_u16(rest)?;
        let (left, rest) = be_u16(rest.get(usize::from(formats) * 2..)?)?;
        Some(Self { left, rest })
    }

    /// All of them came.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for BindValues<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.left.checked_sub(1)?;
        let (length, after) = be_i32(self.rest)?;
        let (value, rest) = match usize::try_from(length) {
            Ok(length) => (Some(after.get(..length)?), after.get(length..)?),
            Err(_) if length == -1 => (None, after),
            Err(_) => return None,
        };
        (self.left, self.rest) = (left, rest);
        Some(value)
    }
}

/// The parameters of a whole Bind's [`Bind::rest`], each with whether it is in the binary format; `$1` first.
pub fn values(rest: &[u8]) -> impl Iterator<Item = (Option<&[u8]>, bool)> {
    let word = |at: usize| Some(u16::from_be_bytes(*rest.get(at * 2..)?.first_chunk()?));
    let formats = word(0).unwrap_or(0);
    // None: all are text. One: it holds for all.
    let binary = move |at: u16| match formats {
        0 => false,
        1 => word(1) == Some(1),
        _ => word(usize::from(at) + 1) == Some(1),
    };
    let values = BindValues::of(rest).into_iter().flatten();
    values.zip(0u16..).map(move |(value, at)| (value, binary(at)))
}

/// Of a whole Bind's [`Bind::rest`], what gives the parameters: their formats and values, without the formats of the
/// result.
#[must_use]
pub fn bind_parameters(rest: &[u8]) -> Option<&[u8]> {
    let mut values = BindValues::of(rest)?;
    values.by_ref().for_each(drop);
    let end = rest.len().checked_sub(values.rest.len())?;
    values.is_done().then(|| rest.get(..end))?
}

/// Parameter `number` (from 1) of them.
#[must_use]
pub fn bind_value(rest: &[u8], number: u16) -> Option<Option<&[u8]>> {
    BindValues::of(rest)?.nth(usize::from(number.checked_sub(1)?))
}

/// What a Describe or Close is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Statement(&'a [u8]),
    Portal(&'a [u8]),
}

/// `Describe` and `Close`.
#[must_use]
pub fn target(body: &[u8]) -> Option<Target<'_>> {
    let (&kind, rest) = body.split_first()?;
    let (name, rest) = cstr(rest)?;
    match (kind, rest.is_empty()) {
        (b'S', true) => Some(Target::Statement(name)),
        (b'P', true) => Some(Target::Portal(name)),
        _ => None,
    }
}

/// `Execute`: the portal's name.
#[must_use]
pub fn execute(body: &[u8]) -> Option<&[u8]> {
    let (portal, rest) = cstr(body)?;
    (rest.len() == 4).then_some(portal)
}

/// A Query.
pub fn put_query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, b'Q', |o| {
        o.extend_from_slice(text);
        o.push(0);
    });
}

/// A Parse from a name and a [`Parse::tail`].
pub fn put_parse(out: &mut Vec<u8>, name: &[u8], tail: &[u8]) {
    message(out, b'P', |o| {
        o.extend_from_slice(name);
        o.push(0);
        o.extend_from_slice(tail);
    });
}

/// The head of a Bind whose `rest_len` further bytes follow as they came.
pub fn put_bind_head(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest_len: usize) {
    out.push(b'B');
    let length = 4 + portal.len() + 1 + statement.len() + 1 + rest_len;
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(portal);
    out.push(0);
    out.extend_from_slice(statement);
    out.push(0);
}

/// A Describe (`D`) or Close (`C`) of a statement.
pub fn put_statement_target(out: &mut Vec<u8>, tag: u8, name: &[u8]) {
    message(out, tag, |o| {
        o.push(b'S');
        o.extend_from_slice(name);
        o.push(0);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_of_a_bind_end_before_the_formats_of_its_result() {
        let rest = b"\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x02\0\x01\0\0";
        assert_eq!(bind_parameters(rest), rest.get(..rest.len() - 6));
        for short in 0..rest.len() - 6 {
            assert_eq!(bind_parameters(&rest[..short]), None, "{short}");
        }
    }

    #[test]
    fn a_second_message_in_hiding_is_refused() {
        assert_eq!(query(b"SELECT 1\0"), Some(&b"SELECT 1"[..]));
        assert_eq!(query(b"SELECT 1\0Q\0\0\0\x04"), None);
        assert_eq!(query(b"SELECT 1"), None);
        assert_eq!(parse(b"n\0SELECT 1\0\0\x01\0\0\0"), None);
        assert_eq!(parse(b"n\0SELECT 1\0\0\x00").unwrap().tail, b"SELECT 1\0\0\0");
        assert_eq!(execute(b"\0\0\0\0\0x"), None);
    }

    #[test]
    fn values_are_found_by_number() {
        let rest = b"\0\x01\0\0\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x01c\0\0";
        assert_eq!(bind_value(rest, 1), Some(Some(&b"ab"[..])));
        assert_eq!(bind_value(rest, 2), Some(None));
        assert_eq!(bind_value(rest, 3), Some(Some(&b"c"[..])));
        assert_eq!(bind_value(rest, 4), None);
        assert_eq!(bind_value(rest, 0), None);
    }

    #[test]
    fn lengths_that_lie_end_in_none() {
        assert_eq!(bind_value(b"\0\0\0\x01\x7f\xff\xff\xff", 1), None);
        assert_eq!(bind_value(b"\0\0\0\x01\xff\xff\xff\xfe", 1), None);
        assert_eq!(bind_value(b"\xff\xff", 1), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(b in proptest::collection::vec(any::<u8>(), 0..64), n: u16) {
            let _ = (query(&b), parse(&b), bind(&b), bind_value(&b, n), target(&b), execute(&b));
        }

        #[test]
        fn a_parse_reads_back(name in "[a-z]{0,8}", text in "[ -~]{0,40}") {
            let tail = [text.as_bytes(), &[0, 0, 0]].concat();
            let mut out = Vec::new();
            put_parse(&mut out, name.as_bytes(), &tail);
            let p = parse(&out[crate::wire::frame::HEADER..]).unwrap();
            prop_assert_eq!((p.name, p.text, p.tail), (name.as_bytes(), text.as_bytes(), &tail[..]));
        }
    }
}
