//! What an application does not say unless somebody else speaks through it.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "security":

}
