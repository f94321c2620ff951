//! Tasks that publish what the data plane reads: credentials, topology, policies.

/// How far a replica is behind.
pub mod lag;
pub mod learned;
/// The planner asked beside the statements.
pub mod planner;
/// The thread they run on.
pub mod runtime;
/// The policies' versions.
pub mod policies;
/// The one immutable value they publish.
pub mod snapshot;
/// Which servers are up.
pub mod topology;
mod auth_query;
/// What the databases hold.
pub mod catalog;
pub(crate) mod connection;
pub mod credentials;
pub mod pg_tls;
/// Files read again while we run.
pub mod reload;
mod secret;
pub mod userlist;
