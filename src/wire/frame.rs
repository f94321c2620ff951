//! Frames: a tag byte, a big-endian `i32` length that counts itself, a body.

/// Tag and length field.
pub const HEADER: usize = 5;

/// The longest message PostgreSQL takes (`PQ_LARGE_MESSAGE_LIMIT`: 1 GiB less two bytes).
pub const LARGE: usize = 0x3fff_fffe;
/// The longest of its small messages (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL: usize = 10_000;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes of the whole frame, tag and length field included: 5 or more.
    pub total: usize,
}

/// A length no message of that tag may have. The stream can't be trusted from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength {
    pub tag: u8,
    pub length: u32,
}

/// The header at the start of `buf`; `None` while fewer than five bytes are there.
///
/// # Errors
/// [`BadLength`] when the length field is below 4 or above `limit(tag)`.
#[inline]
pub fn peek(buf: &[u8], limit: impl Fn(u8) -> usize) -> Result<Option<Header>, BadLength> {
    let Some((&[tag, a, b, c, d], _)) = buf.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    if length < 4 || length as usize > limit(tag) {
        return Err(BadLength { tag, length });
    }
    Ok(Some(Header { tag, total: length as usize + 1 }))
}

/// What PostgreSQL accepts from a client, by tag.
#[must_use]
#[inline]
pub fn client_limit(tag: u8) -> usize {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => LARGE,
        _ => SMALL,
    }
}

/// What a server may send. libpq trusts its server up to the type's range; so much is never needed.
#[must_use]
#[inline]
pub fn server_limit(_tag: u8) -> usize {
    LARGE + 4
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_needs_five_bytes() {
        assert_eq!(peek(b"Q\0\0\0", client_limit), Ok(None));
        assert_eq!(peek(b"Q\0\0\0\x05\0", client_limit), Ok(Some(Header { tag: b'Q', total: 6 })));
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_kept() {
        for length in [0u32, 3, 0x4000_0000, u32::MAX] {
            let mut b = vec![b'Q'];
            b.extend_from_slice(&length.to_be_bytes());
            assert_eq!(peek(&b, client_limit), Err(BadLength { tag: b'Q', length }));
        }
        let mut sync = vec![b'S'];
        sync.extend_from_slice(&20_000u32.to_be_bytes());
        assert!(peek(&sync, client_limit).is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_is_what_is_peeked(tag: u8, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            crate::wire::reply::message(&mut out, tag, |o| o.extend_from_slice(&body));
            let h = peek(&out, |_| LARGE).unwrap().unwrap();
            prop_assert_eq!(h, Header { tag, total: out.len() });
            prop_assert_eq!(&out[HEADER..], &body[..]);
        }

        #[test]
        fn any_bytes_peek_without_panic(b in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = peek(&b, client_limit);
            let _ = peek(&b, server_limit);
        }
    }
}
