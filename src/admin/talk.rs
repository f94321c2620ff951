//! What the console makes of a client's messages: texts to run, and an error for the rest. Pure.

use crate::wire::reply::{self, Severity};
use crate::wire::{frontend, sqlstate};

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// No answer is due.
    Nothing,
    /// Answer with these bytes.
    Say(Vec<u8>),
    /// Run this text; its answer ends with ReadyForQuery.
    Run(&'a str),
    /// The client says good-bye.
    Leave,
    /// It broke the protocol: these are the last words.
    Break(Vec<u8>),
}

/// One client's side of the protocol.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// After an error in the extended protocol: until Sync.
    skipping: bool,
}

impl Talk {
    /// Takes a whole message.
    pub(super) fn message<'a>(&mut self, tag: u8, body: &'a [u8]) -> Next<'a> {
        match tag {
            b'X' => Next::Leave,
            b'S' => {
                self.skipping = false;
                Next::Say(ready(Vec::new()))
            }
            _ if self.skipping => Next::Nothing,
            b'Q' => match frontend::query(body).map(std::str::from_utf8) {
                Some(Ok(text)) => Next::Run(text),
                Some(Err(_)) => {
                    let code = sqlstate::CHARACTER_NOT_IN_REPERTOIRE;
                    Next::Say(ready(error(code, "the command is not valid UTF-8", "")))
                }
                None => Next::Break(fatal("invalid message format")),
            },
            b'F' => Next::Say(ready(simple_only())),
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
                self.skipping = true;
                Next::Say(simple_only())
            }
            // Of a COPY that never was, as in PostgreSQL.
            b'd' | b'c' | b'f' => Next::Nothing,
            _ => Next::Break(fatal("invalid frontend message type")),
        }
    }
}

/// An ErrorResponse.
#[must_use]
pub(super) fn error(code: sqlstate::SqlState, message: &str, hint: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::error_response(&mut out, Severity::Error, code, message, "", hint);
    out
}

/// The last words to who broke the protocol.
#[must_use]
pub(super) fn fatal(message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::error_response(&mut out, Severity::Fatal, sqlstate::PROTOCOL_VIOLATION, message, "", "");
    out
}

/// Ends an answer.
#[must_use]
pub(super) fn ready(mut out: Vec<u8>) -> Vec<u8> {
    reply::ready_for_query(&mut out, reply::IDLE);
    out
}

fn simple_only() -> Vec<u8> {
    let message = "the console speaks the simple query protocol only";
    let hint =
        "psycopg: no parameters; pgx: default_query_exec_mode=simple_protocol; JDBC: preferQueryMode=simple.";
    error(sqlstate::FEATURE_NOT_SUPPORTED, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_gets_one_error_and_is_ready_after_its_sync() {
        let mut talk = Talk::default();
        let Next::Say(said) = talk.message(b'P', b"\0SHOW POOLS\0\0\0") else { panic!("an error is due") };
        assert!(said.starts_with(b"E") && said.windows(5).any(|w| w == b"0A000"));
        for tag in *b"BDECHQF" {
            assert_eq!(talk.message(tag, b"SHOW POOLS\0"), Next::Nothing);
        }
        assert_eq!(talk.message(b'S', b""), Next::Say(b"Z\0\0\0\x05I".to_vec()));
        assert_eq!(talk.message(b'Q', b"SHOW POOLS\0"), Next::Run("SHOW POOLS"));
    }

    #[test]
    fn broken_messages_end_it_and_strays_do_not() {
        let mut talk = Talk::default();
        assert_eq!(talk.message(b'd', b"x"), Next::Nothing);
        assert!(matches!(talk.message(b'Q', b"\xff\0"), Next::Say(_)));
        assert!(matches!(talk.message(b'Q', b"SHOW POOLS\0Q\0"), Next::Break(_)));
        assert!(matches!(talk.message(b'p', b"secret\0"), Next::Break(_)));
        assert_eq!(talk.message(b'X', b""), Next::Leave);
    }
}
