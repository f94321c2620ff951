//! What only shows over several statements of a session.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "session":
    "transaction-left-open" | "ban-uncommitted-transaction" => transaction_left_open,
    "transaction-nesting" => transaction_nesting,
    "repeated-lookup" => repeated_lookup,
    "idle-pin" => idle_pin,
}
