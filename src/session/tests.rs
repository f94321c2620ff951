#![allow(clippy::unwrap_used)]

mod books;
mod limits;
mod model;
mod model_state;
mod plans;
mod policies;
mod properties;
mod pump;
mod relay;
mod sql_names;
