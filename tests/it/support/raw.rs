//! A client that writes frames by hand, for what no driver would do. Also used by the benches.

use std::collections::HashMap;
use std::io;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// One message of the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Frame {
    /// A field of an ErrorResponse or NoticeResponse: `C` SQLSTATE, `M` message, `D` detail, `H` hint, …
    pub fn field(&self, code: u8) -> Option<String> {
        let mut fields = self.body.split(|b| *b == 0).filter(|f| !f.is_empty());
        fields.find(|f| f[0] == code).map(|f| String::from_utf8_lossy(&f[1..]).into_owned())
    }

    /// The values of a DataRow as text.
    pub fn columns(&self) -> Vec<Option<String>> {
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let taken = usize::try_from(length).unwrap_or(0);
            columns.push((length >= 0).then(|| String::from_utf8_lossy(&tail[..taken]).into_owned()));
            rest = &tail[taken..];
        }
        columns
    }

    /// The body up to its last NUL: a CommandComplete's tag.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.strip_suffix(&[0]).unwrap_or(&self.body)).into_owned()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(120)]).into_owned();
        write!(f, "{}{body:?}", self.tag as char)
    }
}

/// The tags of frames in a row, NoticeResponses and ParameterStatus left out: `"TDDCZ"`.
pub fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|f| f.tag as char).filter(|t| !"NS".contains(*t)).collect()
}

/// The SQLSTATE of the first error among frames.
pub fn code(frames: &[Frame]) -> Option<String> {
    frames.iter().find(|f| f.tag == b'E').and_then(|f| f.field(b'C'))
}

/// A connection without any idea of what is allowed.
pub struct Raw<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
    pub process_id: i32,
    pub secret: Vec<u8>,
    pub parameters: HashMap<String, String>,
    /// Longest wait for a frame.
    pub patience: Duration,
}

impl Raw {
    /// TCP only; not a byte is sent.
    pub async fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Logged in and ready; an ErrorResponse on the way is the error.
    pub async fn login(
        port: u16,
        user: &str,
        password: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Frame> {
        let mut raw = Self::connect(port).await.map_err(gone)?;
        let all = [&[("user", user), ("database", database)], parameters].concat();
        raw.try_send(&msg::startup(196_608, &all)).await.map_err(gone)?;
        raw.authenticate(user, password).await?;
        Ok(raw)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Over a stream that is there already; not a byte is sent.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            process_id: 0,
            secret: Vec::new(),
            parameters: HashMap::new(),
            patience: PATIENCE,
        }
    }

    /// Answers what the server asks until it is ready.
    pub async fn authenticate(&mut self, user: &str, password: &str) -> Result<(), Frame> {
        let mut scram = None;
        loop {
            let frame = self.frame().await.ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))?;
            match frame.tag {
                b'R' => {
                    if let Some(answer) = answer(&frame.body, user, password, &mut scram) {
                        self.try_send(&msg::frame(b'p', &answer)).await.map_err(gone)?;
                    }
                }
                b'S' => {
                    let mut parts =
                        frame.body.split(|b| *b == 0).map(|p| String::from_utf8_lossy(p).into_owned());
                    let name = parts.next().unwrap_or_default();
                    self.parameters.insert(name, parts.next().unwrap_or_default());
                }
                b'K' => {
                    self.process_id = i32::from_be_bytes(frame.body[..4].try_into().unwrap());
                    self.secret = frame.body[4..].to_vec();
                }
                b'E' => return Err(frame),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends; a connection that is gone by now shows when it is read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes).await;
    }

    /// The next frame; `None` when the connection ended. Panics if neither comes in time.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if rest.len() + 4 >= length {
                    let frame = Frame { tag: head[0], body: rest[..length - 4].to_vec() };
                    self.buffer.drain(..=length);
                    return Some(frame);
                }
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// One byte, as the answer to an SSLRequest.
    pub async fn byte(&mut self) -> Option<u8> {
        if self.buffer.is_empty() && !self.read_more().await {
            return None;
        }
        Some(self.buffer.remove(0))
    }

    async fn read_more(&mut self) -> bool {
        let read = tokio::time::timeout(self.patience, self.stream.read_buf(&mut self.buffer)).await;
        matches!(read.expect("no frame and no end of the connection in time"), Ok(n) if n > 0)
    }

    /// Every frame up to and with ReadyForQuery, or the end of the connection.
    pub async fn until_ready(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            let last = frame.tag == b'Z';
            frames.push(frame);
            if last {
                break;
            }
        }
        frames
    }

    /// Every frame until the other side closes.
    pub async fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    /// A simple query and its answer.
    pub async fn query(&mut self, sql: &str) -> Vec<Frame> {
        self.send(&msg::query(sql)).await;
        self.until_ready().await
    }
}

/// An ErrorResponse of our own: the connection is gone.
fn gone(error: io::Error) -> Frame {
    Frame { tag: b'E', body: format!("C\0M{error}\0\0").into_bytes() }
}

/// The client's half of a SCRAM exchange between its two messages.
pub struct Scram {
    first_bare: String,
}

/// The answer to an authentication request, if it wants one.
fn answer(body: &[u8], user: &str, password: &str, scram: &mut Option<Scram>) -> Option<Vec<u8>> {
    let kind = i32::from_be_bytes(body[..4].try_into().unwrap());
    let rest = &body[4..];
    match kind {
        3 => Some([password.as_bytes(), b"\0"].concat()),
        5 => Some(md5_answer(user, password, rest)),
        10 => {
            let mut nonce = [0; 18];
            ring::rand::SystemRandom::new().fill(&mut nonce).unwrap();
            let first_bare = format!("n=,r={}", BASE64_STANDARD.encode(nonce));
            let first = format!("n,,{first_bare}");
            *scram = Some(Scram { first_bare });
            let length = i32::try_from(first.len()).unwrap().to_be_bytes();
            Some([b"SCRAM-SHA-256\0", length.as_slice(), first.as_bytes()].concat())
        }
        11 => {
            let server_first = String::from_utf8(rest.to_vec()).unwrap();
            Some(scram.take().unwrap().finish(password, &server_first).into_bytes())
        }
        _ => None,
    }
}

fn md5_answer(user: &str, password: &str, salt: &[u8]) -> Vec<u8> {
    use md5::{Digest, Md5};
    let hex = |data: &[u8]| Md5::digest(data).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let inner = hex([password.as_bytes(), user.as_bytes()].concat().as_slice());
    format!("md5{}\0", hex([inner.as_bytes(), salt].concat().as_slice())).into_bytes()
}

type Salted = HashMap<(String, String), [u8; 32]>;
/// Salted passwords by password and server's salt: the client's side of a login stays cheap in benches.
static SALTED: LazyLock<Mutex<Salted>> = LazyLock::new(Mutex::default);

impl Scram {
    fn finish(self, password: &str, server_first: &str) -> String {
        let value = |key| server_first.split(',').find_map(|p| p.strip_prefix(key)).unwrap();
        let (nonce, salt, rounds) = (value("r="), value("s="), value("i="));
        let salted = *SALTED.lock().unwrap().entry((password.into(), salt.into())).or_insert_with(|| {
            let mut out = [0; 32];
            let rounds = std::num::NonZeroU32::new(rounds.parse().unwrap()).unwrap();
            let salt = BASE64_STANDARD.decode(salt).unwrap();
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut out);
            out
        });
        let mac = |key: &[u8], data: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let last = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{last}", self.first_bare);
        let signature = mac(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        format!("{last},p={}", BASE64_STANDARD.encode(proof))
    }
}

/// Messages of a client, built by hand.
pub mod msg {
    /// Tag, length, body.
    pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], length.as_slice(), body].concat()
    }

    /// StartupMessage: 196608 is version 3.0, 196610 is 3.2.
    pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [length.as_slice(), &body].concat()
    }

    pub fn ssl_request() -> Vec<u8> {
        [8u32.to_be_bytes(), 80_877_103u32.to_be_bytes()].concat()
    }

    pub fn gssenc_request() -> Vec<u8> {
        [8u32.to_be_bytes(), 80_877_104u32.to_be_bytes()].concat()
    }

    pub fn cancel_request(process_id: i32, secret: &[u8]) -> Vec<u8> {
        let length = u32::try_from(12 + secret.len()).unwrap().to_be_bytes();
        [&length, &80_877_102u32.to_be_bytes(), &process_id.to_be_bytes(), secret].concat()
    }

    pub fn query(sql: &str) -> Vec<u8> {
        frame(b'Q', &[sql.as_bytes(), b"\0"].concat())
    }

    pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
        let mut body = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
        body.extend(u16::try_from(types.len()).unwrap().to_be_bytes());
        types.iter().for_each(|t| body.extend(t.to_be_bytes()));
        frame(b'P', &body)
    }

    /// Bind with text parameters and text results.
    pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>]) -> Vec<u8> {
        let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
        body.extend(u16::try_from(parameters.len()).unwrap().to_be_bytes());
        for parameter in parameters {
            match parameter {
                Some(text) => {
                    body.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
                    body.extend(text.as_bytes());
                }
                None => body.extend((-1i32).to_be_bytes()),
            }
        }
        body.extend([0, 0]);
        frame(b'B', &body)
    }

    pub fn describe_statement(name: &str) -> Vec<u8> {
        frame(b'D', &[b"S", name.as_bytes(), b"\0"].concat())
    }

    pub fn describe_portal(name: &str) -> Vec<u8> {
        frame(b'D', &[b"P", name.as_bytes(), b"\0"].concat())
    }

    /// At most `rows` rows; 0 for all.
    pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
        frame(b'E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat())
    }

    pub fn close_statement(name: &str) -> Vec<u8> {
        frame(b'C', &[b"S", name.as_bytes(), b"\0"].concat())
    }

    pub fn close_portal(name: &str) -> Vec<u8> {
        frame(b'C', &[b"P", name.as_bytes(), b"\0"].concat())
    }

    pub fn sync() -> Vec<u8> {
        frame(b'S', b"")
    }

    pub fn flush() -> Vec<u8> {
        frame(b'H', b"")
    }

    pub fn terminate() -> Vec<u8> {
        frame(b'X', b"")
    }

    pub fn copy_data(data: &[u8]) -> Vec<u8> {
        frame(b'd', data)
    }

    pub fn copy_done() -> Vec<u8> {
        frame(b'c', b"")
    }

    pub fn copy_fail(reason: &str) -> Vec<u8> {
        frame(b'f', &[reason.as_bytes(), b"\0"].concat())
    }

    /// Parse, Bind, Describe, Execute of one statement over the unnamed names; no Sync.
    pub fn extended(sql: &str, parameters: &[Option<&str>]) -> Vec<u8> {
        [parse("", sql, &[]), bind("", "", parameters), describe_portal(""), execute("", 0)].concat()
    }
}
