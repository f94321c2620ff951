#![allow(clippy::unwrap_used)]

mod model;
mod policies;
mod properties;
mod pump;
mod relay;
