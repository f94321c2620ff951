//! The data plane: one file per hop, in the order of the hops.

/// Listening, and dealing connections to the threads.
pub mod accept;
/// First packets: TLS, cancel, or a client.
pub mod startup;
/// What carries a connection.
pub mod stream;
/// Certificates and handshakes: towards clients,
pub mod tls;
/// towards servers.
mod server_tls;
/// What certificates say.
mod x509;
/// Proof of identity.
mod auth;
/// From identity to first query.
mod greet;
/// The same for replication, on a server connection of its own.
mod replication;
/// The loop of one client.
mod drive;
mod endings;
/// Which server a lane leads to.
pub mod lanes;
/// Waiting for a server.
mod acquire;
/// What is known of plans.
pub mod planner;
mod query_log;
/// Rates and concurrency of statements.
pub mod throttle;
/// Waiting for a turn under them, and the time a statement may take.
mod turn;
/// Who waits and goes.
mod vigil;
/// Who holds a server and says nothing.
mod silence;
/// How long clients may take.
mod deadlines;
/// How many clients there are of a kind.
pub mod crowd;
/// What a stream did not take yet.
pub mod pipe;
/// What is counted.
mod books;
/// Which policies a thread goes by.
mod policies;
/// What is logged of clients.
pub(crate) mod client_log;
mod closed;
/// Cancel requests.
mod cancel;
/// What the console shows of a client.
pub mod card;
/// How others reach a client's task.
pub(crate) mod mailbox;
/// What a thread has, and what all share.
pub mod thread;
/// What has to be done now and then.
pub mod upkeep;
