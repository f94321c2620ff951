//! What a server says while it lets somebody in: that a password will expire, that a collation has changed, what a
//! login trigger raises. It belongs to user and database, so each client that logs in is to hear it, also when its
//! server connection was opened for another.

use super::login::ServerGreeting;

/// Most notices kept of one login, and most bytes of them.
const MOST: usize = 16;
const MOST_BYTES: usize = 16 * 1024;

/// Whole NoticeResponse frames.
#[derive(Debug, Default)]
pub struct LoginNotices {
    frames: Vec<Box<[u8]>>,
    /// The encoding they are in.
    encoding: Box<str>,
}

impl LoginNotices {
    pub(super) fn of(greeting: &mut ServerGreeting) -> Self {
        let mut bytes = 0;
        let frames = std::mem::take(&mut greeting.notices).into_iter().take(MOST).take_while(|frame| {
            bytes += frame.len();
            bytes <= MOST_BYTES
        });
        let frames = frames.collect();
        let encoding = greeting.parameters.iter().find(|(name, _)| name.as_ref() == "client_encoding");
        Self { frames, encoding: encoding.map(|(_, value)| value.clone()).unwrap_or_default() }
    }

    /// Appends them for a client of that encoding and `client_min_messages`; what it could not read is left out.
    pub fn tell(&self, out: &mut Vec<u8>, encoding: Option<&str>, least: Option<&str>) {
        let same = encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(&self.encoding));
        let least = least.and_then(level).unwrap_or(NOTICE);
        let wanted = |frame: &[u8]| (same || readable(frame)) && severity(frame).is_none_or(|s| s >= least);
        self.frames.iter().filter(|frame| wanted(frame)).for_each(|frame| out.extend_from_slice(frame));
    }
}

/// Levels a client can ask for (`client_min_messages`), least first; INFO comes in any case.
const LEVELS: [&str; 10] =
    ["DEBUG5", "DEBUG4", "DEBUG3", "DEBUG2", "DEBUG1", "DEBUG", "LOG", "NOTICE", "WARNING", "ERROR"];
/// What is sent to who asks for nothing.
const NOTICE: usize = 7;

fn level(name: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.eq_ignore_ascii_case(name))
}

/// The level of a frame, if it is one of them.
fn severity(frame: &[u8]) -> Option<usize> {
    let value = crate::wire::backend::field(frame.get(5..)?, b'V')?;
    level(std::str::from_utf8(value).ok()?)
}

/// The body of the frame is ASCII: the same in every encoding.
fn readable(frame: &[u8]) -> bool {
    frame.get(5..).is_some_and(<[u8]>::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_what_it_can_read() {
        let frames = vec![(*b"N\0\0\0\x07Mx\0").into(), (*b"N\0\0\0\x08M\xc3\xbc\0").into()];
        let notices = LoginNotices { frames, encoding: "UTF8".into() };
        let told = |encoding| {
            let mut out = Vec::new();
            notices.tell(&mut out, encoding, None);
            out.len()
        };
        assert_eq!((told(Some("utf8")), told(Some("LATIN1")), told(None)), (17, 8, 8));
        let warning = *b"N\0\0\0\x12VWARNING\0Mx\0\0";
        let notices = LoginNotices { frames: vec![warning.into()], encoding: "UTF8".into() };
        let told = |least| {
            let mut out = Vec::new();
            notices.tell(&mut out, None, least);
            !out.is_empty()
        };
        assert!(told(None) && told(Some("notice")) && told(Some("Warning")) && told(Some("odd")));
        assert!(!told(Some("error")));
    }
}
