//! The columns of the console's longer answers. Pure.

use super::commands::Column;

macro_rules! columns {
    ($($name:ident: $kind:ident $($doc:literal)?,)*) => {
        &[$($crate::admin::commands::Column { name: stringify!($name), kind: $crate::admin::commands::Type::$kind, doc: concat!($($doc)?) },)*]
    };
}
pub(super) use columns;

pub(super) const POLICIES: &[Column] = columns![
    rule: Text "NULL in the last row if the last load failed.",
    action: Text,
    mode: Text "`enforce` or `observe`.",
    hits: Int8 "Statements it matched since the start of pgsluice, over all versions.",
    file: Text,
    generation: Int8 "The version in force; counts from 1.",
    error: Text "Why the last load failed.",
];

pub(super) const LANES: &[Column] = columns![
    lane: Text "`primary`, `replica`, or one of the settings.",
    server: Text "`primary`, `replica1`, …, `analytics1`, …, as in the metrics.",
    host: Text "Of several the first.",
    port: Int4,
    usable: Text "`yes` or `no`.",
    why_not: Text "NULL: it may be used.",
    lag: Int8 "Milliseconds behind the primary. NULL: unknown, or the primary itself.",
    max_lag: Int8 "Milliseconds; further behind it is not used.",
    pool_size: Int4 "Most connections to it.",
    connections: Int4 "Those there are, of all users and databases.",
    fallback: Text "Who stands in for the lane: `none`, `replica` or `primary`.",
];

pub(super) const POLICY_VERSIONS: &[Column] = columns![
    generation: Int8 "NULL for a load that failed.",
    state: Text "`in force`, `canary`, `replaced`, `rolled back`, `dropped` (a canary), `failed`.",
    loaded: Text "When it was read, UTC.",
    trigger: Text "What brought it: `start`, `SIGHUP`, `file change`, a command of the console and who gave it.",
    rules: Int4,
    hash: Text "Of the files' names and texts.",
    changes: Text "Against the version in force when it was read; for a load that failed, why.",
];

pub(super) const POLICY_CANARY: &[Column] = columns![
    generation: Int8 "Of the canary.",
    rule: Text "NULL in the first row, which counts statements.",
    now: Text "What the rule says in the version in force: an action, `… (observed)`, or `nothing`.",
    canary: Text "What it says in the canary.",
    statements: Int8 "Distinct statements of which that holds; in the first row, all that were judged by both.",
    fingerprint: Text "Of the first of them.",
    statement: Text "The first of them, without its values.",
];

pub(super) const SOCKET: &[Column] = columns![
    type: Text "`C` client, `S` server.",
    user: Text,
    database: Text,
    replication: Text "`none`.",
    state: Text "Clients: `active` (hold a server), `idle`, `waiting` for one. Servers: `active` (lent), `idle`, `tested` (being reset).",
    addr: Text "`unix` for a unix socket.",
    port: Int4,
    local_addr: Text,
    local_port: Int4,
    connect_time: Text "When it had logged in, UTC.",
    request_time: Text "When the last statement came; for an idle server, when it was given back. UTC.",
    wait: Int4 "Seconds a client has waited for a server; `wait_us` has the rest in microseconds.",
    wait_us: Int4,
    close_needed: Int4 "0.",
    ptr: Text "Names this connection in `link` of the other side.",
    link: Text "`ptr` of the server that a client holds, or of the client that holds a server.",
    remote_pid: Int4 "Servers: the process id of the server process. Clients: 0.",
    tls: Text "`TLS`, or empty.",
    application_name: Text "What the client started with; control characters as `\\x1b`.",
    prepared_statements: Int4 "NULL: not counted.",
    id: Int8 "A number of its own; a client's is what KILL_CLIENT takes.",
];

pub(super) const POOLS: &[Column] = columns![
    database: Text,
    user: Text,
    cl_active: Int4 "Clients that wait for nothing.",
    cl_waiting: Int4 "Clients that wait for a server.",
    cl_active_cancel_req: Int4 "0: cancel requests are not kept as clients.",
    cl_waiting_cancel_req: Int4 "0.",
    sv_active: Int4 "Server connections lent to clients.",
    sv_active_cancel: Int4 "0.",
    sv_being_canceled: Int4 "0.",
    sv_idle: Int4,
    sv_used: Int4 "0: there is no check query.",
    sv_tested: Int4 "Server connections being reset after their client left.",
    sv_login: Int4,
    maxwait: Int4 "Seconds that the first in the queue has waited; `maxwait_us` has the rest in microseconds.",
    maxwait_us: Int4,
    pool_mode: Text,
    load_balance_hosts: Text "NULL.",
];

pub(super) const DATABASES: &[Column] = columns![
    name: Text,
    host: Text "The primary's.",
    port: Int4,
    database: Text,
    force_user: Text "NULL.",
    pool_size: Int4 "The cap of a server, over all databases and users.",
    min_pool_size: Int4,
    reserve_pool_size: Int4 "0.",
    server_lifetime: Int4 "Seconds.",
    pool_mode: Text,
    load_balance_hosts: Text "NULL.",
    max_connections: Int4 "0: no bound but `pool_size`.",
    current_connections: Int4 "Server connections, on all servers.",
    max_client_connections: Int4 "0: no bound but `max_client_conn`.",
    current_client_connections: Int4,
    paused: Int4 "0.",
    disabled: Int4 "0.",
];

pub(super) const USERS: &[Column] = columns![
    name: Text,
    pool_size: Text "Empty: no pool size of its own.",
    reserve_pool_size: Text "Empty.",
    pool_mode: Text "NULL: no mode of its own.",
    max_user_connections: Int4 "0: no bound of its own.",
    current_connections: Int4,
    max_user_client_connections: Int4 "0: no bound of its own.",
    current_client_connections: Int4,
];

pub(super) const LIMITS: &[Column] = columns![
    rule: Text,
    limit: Text "`timeout`, `rows`, `bytes`, `rate` or `concurrency`.",
    per: Text "Whose statements `rate` and `concurrency` count together.",
    of: Text "Whose these are; NULL: the limit as a whole.",
    used: Int8 "Statements that run, or came within the time of the rate.",
    allowed: Int8 "Milliseconds, rows, bytes, or statements.",
    within: Int8 "Of a rate: milliseconds.",
    waiting: Int8 "Statements that wait for their turn.",
    refused: Int8 "Of the limit as a whole: since the start. Of one count: since it began.",
];

pub(super) const STATS: &[Column] = columns![
    database: Text "`other` for those beyond `label_pairs`.",
    total_server_assignment_count: Numeric,
    total_xact_count: Numeric,
    total_query_count: Numeric,
    total_received: Numeric "Bytes from clients.",
    total_sent: Numeric "Bytes to clients.",
    total_xact_time: Numeric "NULL: not counted.",
    total_query_time: Numeric "Microseconds.",
    total_wait_time: Numeric "Microseconds.",
    total_client_parse_count: Numeric "NULL: not counted.",
    total_server_parse_count: Numeric "NULL: not counted.",
    total_bind_count: Numeric "NULL: not counted.",
    total_client_login_count: Numeric,
    avg_server_assignment_count: Numeric "Averages are per second.",
    avg_xact_count: Numeric,
    avg_query_count: Numeric,
    avg_recv: Numeric,
    avg_sent: Numeric,
    avg_xact_time: Numeric "NULL: not counted.",
    avg_query_time: Numeric "Microseconds of a statement.",
    avg_wait_time: Numeric "Microseconds of waiting in a second.",
    avg_client_parse_count: Numeric "NULL: not counted.",
    avg_server_parse_count: Numeric "NULL: not counted.",
    avg_bind_count: Numeric "NULL: not counted.",
    avg_client_login_count: Numeric,
];

pub(super) const STATS_TOTALS: &[Column] = columns![
    database: Text,
    server_assignment_count: Numeric,
    xact_count: Numeric,
    query_count: Numeric,
    bytes_received: Numeric,
    bytes_sent: Numeric,
    xact_time: Numeric,
    query_time: Numeric,
    wait_time: Numeric,
    client_parse_count: Numeric,
    server_parse_count: Numeric,
    bind_count: Numeric,
    client_login_count: Numeric,
];

pub(super) const STATS_AVERAGES: &[Column] = columns![
    database: Text,
    server_assignment_count: Numeric,
    xact_count: Numeric,
    query_count: Numeric,
    bytes_received: Numeric,
    bytes_sent: Numeric,
    xact_time: Numeric,
    query_time: Numeric,
    wait_time: Numeric,
    avg_client_parse_count: Numeric,
    avg_server_parse_count: Numeric,
    avg_bind_count: Numeric,
    avg_client_login_count: Numeric,
];
