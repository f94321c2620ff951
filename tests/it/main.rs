//! One test binary, one file per behaviour. `tests/README.md` says what runs where.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail loudly")]
#![allow(unreachable_pub, reason = "nothing leaves a test binary")]

mod support;
#[path = "../workloads/mod.rs"]
mod workloads;

mod auth_login;
mod sandbox;
mod versions;
mod topology;

mod simple_query;
mod extended_query;
mod pipeline;
mod multi_statement;
mod copy;
mod cancel;
mod catalog;
mod errors_until_sync;
mod notices_parameter_status;
mod transaction_pooling;
mod session_mode;
mod statement_mode;
mod pool_queue;
mod plan_facts;
mod plan_seconds;
mod plans;
mod plans_background;
mod advice;
mod pool_lifecycle;
mod timeouts;
mod vanishing;
mod connect_query;
mod host_list;
mod limits;
mod prepared;
mod own_server;
mod pin_limits;
mod pinning;
mod guard_block;
mod guard_default;
mod guard_warn;
mod policy_settings;
mod statement_limits;
mod bypass;
mod truth;
mod route_replica;
mod metrics;
mod console;
mod shutdown;
mod policy_canary;
mod policy_reload;
mod reload;
mod replay;
mod crowd;
mod sql_prepare;
mod ddl_facts;
mod explain_primary;
mod startup;
mod statement_names;
mod auth;
mod tls;
mod direct_tls;
mod channel_binding;
mod client_certificate;
mod replication;
mod login_notices;
mod encodings;
mod protocol_3_2;
mod hostile;
mod backpressure;
mod isolation;
mod drivers;
mod tidy;
mod second_reader;
mod differential;
