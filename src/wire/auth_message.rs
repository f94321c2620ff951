//! The messages of the authentication phase, read: the client's answers and what a server says before its
//! first ReadyForQuery. Every reader consumes its body exactly or refuses it.

/// Longest password or SASL message taken from a client that has not proved itself, in bytes.
pub const MAX_CLIENT_MESSAGE: usize = 8 * 1024;
/// Longest message taken from a server during login, in bytes.
pub const MAX_SERVER_MESSAGE: usize = 64 * 1024;

/// A message that does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// Length of a message's body from its length word, refused before anything is allocated.
///
/// # Errors
/// [`Malformed`] for a length shorter than itself or a body longer than `limit`.
pub fn body_length(word: [u8; 4], limit: usize) -> Result<usize, Malformed> {
    let length = usize::try_from(u32::from_be_bytes(word)).unwrap_or(usize::MAX);
    length.checked_sub(4).filter(|&body| body <= limit).ok_or(Malformed("message length"))
}

// === from a client ===

/// PasswordMessage: a password or an md5 response without the NUL that ends it.
///
/// # Errors
/// [`Malformed`] without that NUL, or with bytes after it.
pub fn password(body: &[u8]) -> Result<&[u8], Malformed> {
    match body.split_last() {
        Some((0, text)) if !text.contains(&0) => Ok(text),
        _ => Err(Malformed("password message")),
    }
}

/// SASLInitialResponse: the mechanism, and its first data unless the client waits to be asked.
///
/// # Errors
/// [`Malformed`].
pub fn sasl_initial_response(body: &[u8]) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let read = || {
        let end = body.iter().position(|&byte| byte == 0)?;
        let (mechanism, rest) = body.split_at(end);
        let (length, data) = rest.get(1..)?.split_first_chunk::<4>()?;
        match i32::from_be_bytes(*length) {
            -1 if data.is_empty() => Some((mechanism, None)),
            length if usize::try_from(length).ok()? == data.len() => Some((mechanism, Some(data))),
            _ => None,
        }
    };
    read().ok_or(Malformed("SASL initial response"))
}

// === from a server ===

/// What a server wants or says during authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    CleartextPassword,
    Md5Password([u8; 4]),
    /// The mechanisms on offer.
    Sasl(Vec<&'a [u8]>),
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI and whatever comes next, by its code.
    Unsupported(i32),
}

/// # Errors
/// [`Malformed`].
pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, Malformed> {
    const MALFORMED: Malformed = Malformed("authentication request");
    let (code, data) = body.split_first_chunk::<4>().ok_or(MALFORMED)?;
    Ok(match i32::from_be_bytes(*code) {
        0 if data.is_empty() => Authentication::Ok,
        3 if data.is_empty() => Authentication::CleartextPassword,
        5 => Authentication::Md5Password(data.try_into().map_err(|_| MALFORMED)?),
        10 => {
            // Names, each ended by a NUL, then an empty one.
            let names = data.strip_suffix(&[0]).ok_or(MALFORMED)?;
            let names = names.strip_suffix(&[0]).ok_or(MALFORMED)?;
            Authentication::Sasl(names.split(|&byte| byte == 0).collect())
        }
        11 => Authentication::SaslContinue(data),
        12 => Authentication::SaslFinal(data),
        0 | 3 => return Err(MALFORMED),
        code => Authentication::Unsupported(code),
    })
}

/// BackendKeyData: process number and cancel key.
///
/// # Errors
/// [`Malformed`] if the key's length is not one the protocol allows.
pub fn backend_key_data(body: &[u8]) -> Result<(i32, &[u8]), Malformed> {
    body.split_first_chunk::<4>()
        .filter(|(_, key)| super::startup::CANCEL_KEY.contains(&key.len()))
        .map(|(pid, key)| (i32::from_be_bytes(*pid), key))
        .ok_or(Malformed("cancellation key"))
}

/// ParameterStatus: name and value.
///
/// # Errors
/// [`Malformed`].
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let read = || {
        let end = body.iter().position(|&byte| byte == 0)?;
        let (name, rest) = body.split_at(end);
        let value = password(rest.get(1..)?).ok()?;
        Some((name, value))
    };
    read().ok_or(Malformed("parameter status"))
}

/// A server's ErrorResponse as it came: to be passed on whole, read only where we decide something by it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The body: fields, each a type byte and a string ended by NUL, and a last NUL. May lack any of them.
    pub fields: Box<[u8]>,
}

impl ServerError {
    /// A field by its type (`C` SQLSTATE, `M` message, …), if the server sent it.
    #[must_use]
    pub fn field(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &*self.fields;
        while let Some((&this, tail)) = rest.split_first().filter(|(kind, _)| **kind != 0) {
            let end = tail.iter().position(|&byte| byte == 0)?;
            let (text, tail) = tail.split_at(end);
            if this == kind {
                return Some(text);
            }
            rest = tail.get(1..)?;
        }
        None
    }

    /// SQLSTATE, empty if the server left it out.
    #[must_use]
    pub fn sqlstate(&self) -> &[u8] {
        self.field(b'C').unwrap_or_default()
    }

    /// The message text, for logs.
    #[must_use]
    pub fn message(&self) -> String {
        String::from_utf8_lossy(self.field(b'M').unwrap_or(b"(no message)")).into_owned()
    }
}

impl std::fmt::Debug for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerError({}: {})", String::from_utf8_lossy(self.sqlstate()), self.message())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::reply;
    use super::*;
    use proptest::prelude::*;

    /// The body of the one message that `encode` writes, checked by our own length reader.
    fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out);
        let length = body_length(out[1..5].try_into().unwrap(), MAX_SERVER_MESSAGE).unwrap();
        assert_eq!(length, out.len() - 5);
        out.split_off(5)
    }

    #[test]
    fn what_we_write_we_read() {
        use Authentication as A;
        let read = |encode: &dyn Fn(&mut Vec<u8>), expected: &Authentication<'_>| {
            assert_eq!(&authentication(&body(encode)).unwrap(), expected);
        };
        read(&reply::authentication_ok, &A::Ok);
        read(&reply::authentication_cleartext_password, &A::CleartextPassword);
        read(&|out| reply::authentication_md5_password(out, *b"salt"), &A::Md5Password(*b"salt"));
        read(&|out| reply::authentication_sasl(out, &["A", "B"]), &A::Sasl(vec![b"A", b"B"]));
        read(&|out| reply::authentication_sasl_continue(out, b"x"), &A::SaslContinue(b"x"));
        read(&|out| reply::authentication_sasl_final(out, b"y"), &A::SaslFinal(b"y"));
        assert_eq!(authentication(&7i32.to_be_bytes()), Ok(A::Unsupported(7)));

        let key = body(|out| reply::backend_key_data(out, 9, b"abcd"));
        assert_eq!(backend_key_data(&key), Ok((9, &b"abcd"[..])));
        let status = body(|out| reply::parameter_status(out, "TimeZone", ""));
        assert_eq!(parameter_status(&status), Ok((&b"TimeZone"[..], &b""[..])));
        let initial = body(|out| super::super::startup::sasl_initial_response(out, "M", b"data"));
        assert_eq!(sasl_initial_response(&initial), Ok((&b"M"[..], Some(&b"data"[..]))));
    }

    #[test]
    fn bodies_are_consumed_exactly() {
        for bad in [&b""[..], b"abc", b"a\0b\0", b"a\0\0"] {
            assert!(password(bad).is_err(), "{bad:?}");
        }
        assert_eq!(password(b"\0"), Ok(&b""[..]));
        for bad in
            [&b"M\0"[..], b"M\0\0\0\0\x02a", b"M\0\0\0\0\0a", b"M\0\xff\xff\xff\xffa", b"M\0\xff\xff\xff\xfe"]
        {
            assert!(sasl_initial_response(bad).is_err(), "{bad:?}");
        }
        assert_eq!(sasl_initial_response(b"M\0\xff\xff\xff\xff"), Ok((&b"M"[..], None)));
        for bad in [&b"\0\0\0"[..], b"\0\0\0\0x", b"\0\0\0\x05abc", b"\0\0\0\x0aA\0", b"\0\0\0\x0a"] {
            assert!(authentication(bad).is_err(), "{bad:?}");
        }
        assert!(backend_key_data(b"\0\0\0\x01abc").is_err());
        assert!(backend_key_data(&[0; 4 + 257]).is_err());
        assert!(body_length(3u32.to_be_bytes(), 10).is_err());
        assert!(body_length(15u32.to_be_bytes(), 10).is_err());
    }

    #[test]
    fn an_errors_fields_may_all_be_missing() {
        let error = ServerError { fields: (*b"C28P01\0Mwrong\0\0").into() };
        assert_eq!((error.sqlstate(), error.message().as_str()), (&b"28P01"[..], "wrong"));
        for odd in [&b""[..], b"\0", b"C", b"Cxx", b"Mno end"] {
            let error = ServerError { fields: odd.into() };
            assert_eq!((error.sqlstate(), error.message().as_str()), (&b""[..], "(no message)"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (password(&bytes), sasl_initial_response(&bytes), authentication(&bytes));
            let _ = (backend_key_data(&bytes), parameter_status(&bytes));
            let error = ServerError { fields: bytes.into() };
            let _ = (error.field(b'C'), error.message());
        }
    }
}
