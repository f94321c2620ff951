//! The PostgreSQL frontend/backend protocol, version 3: bytes in, values out.
//!
//! We read only what a decision needs and pass everything else by its header. Our own framer and views check
//! lengths before anything is allocated and demand that a body is consumed exactly: a body that holds more
//! than its message is a second message in hiding.
//!
//! Source of all shapes: PostgreSQL documentation, "Frontend/Backend Protocol" → "Message Formats".

/// Tag, length, body.
pub mod frame;
/// What a client sends before it is logged in; what we send to a server there.
pub mod startup;
/// What authentication says, as a client of a server.
pub mod auth_message;
/// SCRAM-SHA-256, both sides.
pub mod scram;
/// md5 authentication.
pub mod md5;
/// What a client sends.
pub mod frontend;
/// What a server sends.
pub mod backend;
/// What we send ourselves.
pub mod reply;
/// The SQLSTATEs we use.
pub mod sqlstate;
