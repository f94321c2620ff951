//! What only shows over several statements of a session.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "session":
    "transaction-left-open" => transaction_left_open,
    "repeated-lookup" => repeated_lookup,
    "idle-pin" => idle_pin,
}
