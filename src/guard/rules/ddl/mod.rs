//! Definitions that lock or rewrite what others use.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "ddl":

}
