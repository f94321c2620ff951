//! A version that is tried beside the one in force.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::Version;
use crate::guard::shadow::Report;

/// A version that decides nothing yet; what it would have decided otherwise is counted.
#[derive(Debug)]
pub struct Canary {
    pub version: Arc<Version>,
    pub since: SystemTime,
    /// When it takes over by itself.
    pub until: Option<Instant>,
    report: Mutex<Report>,
}

impl Canary {
    pub(super) fn new(version: Arc<Version>, until: Option<Instant>) -> Arc<Self> {
        Arc::new(Self { version, since: SystemTime::now(), until, report: Mutex::default() })
    }

    /// What a data thread found since it told last.
    pub fn tell(&self, report: Report) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).add(report);
    }

    /// All that was found so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
