//! What every behaviour test stands on: one real primary and replica per run, a database, a role and a
//! pgsluice per test.
//!
//! ```ignore
//! let sluice = proxy().policy(POLICY).pool_size(2).start();
//! let client = sluice.connect().await;
//! ```
//!
//! `PGSLUICE_TEST=direct cargo test --test it` runs the transparent tests against PostgreSQL itself: what
//! fails there is a mistake of the test.
#![allow(dead_code, reason = "a helper may be waiting for its second user")]

use std::time::Duration;

pub mod console;
pub mod lab;
pub mod megabyte;
pub mod pki;
pub mod programs;
pub mod raw;
pub mod session;
pub mod sluice;

pub use lab::{Database, Lab, lab};
pub use raw::{Frame, Raw, msg};
pub use session::Session;
pub use sluice::{Builder, Sluice};

/// Longest wait for anything that should happen at once.
pub const SOON: Duration = Duration::from_secs(20);

/// A pgsluice in front of the run's primary, with a fresh database.
pub fn proxy() -> Builder {
    Builder::new(lab())
}

/// The tests talk to PostgreSQL itself.
pub fn direct() -> bool {
    std::env::var("PGSLUICE_TEST").is_ok_and(|v| v == "direct")
}

/// Leaves a test that makes no sense without pgsluice, when there is none.
#[macro_export]
macro_rules! needs_proxy {
    () => {
        if $crate::support::direct() {
            return;
        }
    };
}

/// Leaves a test that does not hold with the run's servers, and says why.
#[macro_export]
macro_rules! only_if {
    ($holds:expr, $why:expr) => {
        if !$holds {
            println!("skipped on PostgreSQL {}: {}", $crate::support::lab::major(), $why);
            return;
        }
    };
}

/// Waits until a condition holds; fails with `what` if it does not hold soon.
pub async fn eventually<F>(what: &str, mut condition: impl FnMut() -> F)
where
    F: std::future::Future<Output = bool>,
{
    let deadline = tokio::time::Instant::now() + SOON;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not soon enough: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// SQLSTATE of an error that the other side sent; an empty text if it sent none.
pub fn sqlstate(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("", |c| c.code())
}
