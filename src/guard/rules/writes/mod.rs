//! Writes that reach more rows than meant.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "writes":
    "write-without-where" => write_without_where,
}
