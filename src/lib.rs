//! pgsluice: a query guard and connection-pool sidecar for PostgreSQL.
//!
//! The modules stand in the order in which a message meets them. Rooms marked *pure* turn values into
//! values: no socket, file, clock, randomness or global; `tests/it/tidy.rs` keeps it so.
//!
//! ```text
//! client → proxy/ accept → startup → tls → auth → drive ─┬─ session/ ─ guard/ (sql → facts → rules → policy → route)
//!                                                        └─ pool/ checkout → proxy/ relay → server
//! control/ (credentials, topology) ── Snapshot ──▶ read once per message          observe/ ◀── events
//! ```

/// *Pure.* The v3 protocol: frames, start-up packets, the messages we read and write, SCRAM arithmetic.
pub mod wire;
/// *Pure.* One client's state machine: what a connection may do next.
pub mod session;
/// *Pure.* From SQL text to a judgement: text → shape → grammar → facts → rules → policy → route.
pub mod guard;
/// *Pure.* A TOML text read with every mistake at once, each with its place and cure.
pub mod document;
/// *Pure.* Statements from servers' logs, and what policies would have done to them.
pub mod replay;
/// IO. The data plane: one file per hop.
pub mod proxy;
/// IO. Capped server connections: checkout, waiters, login, reset, lifetime.
pub mod pool;
/// IO. Tasks that publish what the data plane reads: credentials, topology, policies.
pub mod control;
/// IO. The console: PgBouncer's commands, for those who may.
pub mod admin;
/// IO. Metrics, log, HTTP.
pub mod observe;
/// IO. Settings: a TOML file becomes a typed [`config::Settings`], every error at once.
pub mod config;
/// IO. Throwaway PostgreSQL clusters on loopback, for the demo, the tests and the benches.
pub mod sandbox;
/// IO. The commands.
pub mod cli;
