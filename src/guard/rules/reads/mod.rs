//! Queries that read too much, or in a way no index helps.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "reads":
    "leading-wildcard-like" => leading_wildcard_like,
    "select-star" => select_star,
}
