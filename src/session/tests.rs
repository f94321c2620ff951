#![allow(clippy::unwrap_used)]

mod limits;
mod model;
mod model_state;
mod policies;
mod properties;
mod pump;
mod relay;
mod sql_names;
