//! Every command of the console, declared once: its name, who may run it, what it shows. What is not declared here
//! nobody can run. Pure.

/// Who is in the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of `admin_users`.
    Admin,
    /// Of `stats_users`.
    Stats,
}

/// Who may run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever is in the console: it shows, and changes nothing.
    All,
    Admins,
}

/// What a command does; `rows.rs` and `run.rs` say how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Help,
    Version,
    State,
    Clients,
    Servers,
    Pools,
    Lists,
    Databases,
    Users,
    Stats,
    StatsTotals,
    StatsAverages,
    Config,
    Policies,
    PolicyVersions,
    PolicyCanary,
    Reload,
    ReloadPolicies,
    ReloadPoliciesCanary,
    PromotePolicies,
    RollbackPolicies,
    KillClient,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Type {
    /// PostgreSQL's number and width of it.
    #[must_use]
    pub const fn oid(self) -> (i32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Numeric => "numeric",
        }
    }
}

/// A column of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Type,
    /// Empty where PgBouncer's manual says all there is to say.
    pub doc: &'static str,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// In capitals.
    pub name: &'static str,
    /// What follows the name.
    pub argument: Option<&'static str>,
    pub who: Who,
    pub what: What,
    pub help: &'static str,
    /// PgBouncer's, in its order; then [`Command::own`].
    pub columns: &'static [Column],
    /// Those that PgBouncer does not have.
    pub own: &'static [Column],
}

impl Command {
    /// Default deny: what is not for this role is for nobody of it.
    #[must_use]
    pub fn allows(&self, role: Role) -> bool {
        match (role, self.who) {
            (Role::Admin, Who::All | Who::Admins) | (Role::Stats, Who::All) => true,
            (Role::Stats, Who::Admins) => false,
        }
    }

    /// The first word, as CommandComplete has it.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or(self.name)
    }

    /// Name and argument.
    #[must_use]
    pub fn usage(&self) -> String {
        self.argument.map_or_else(|| self.name.to_owned(), |argument| format!("{} {argument}", self.name))
    }

    /// All columns in their order.
    pub fn all_columns(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().chain(self.own)
    }
}

/// The command of that name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.eq_ignore_ascii_case(name))
}

macro_rules! columns {
    ($($name:ident: $kind:ident $($doc:literal)?,)*) => {
        &[$(Column { name: stringify!($name), kind: Type::$kind, doc: concat!($($doc)?) },)*]
    };
}

/// The commands, in the order of the help.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "SHOW CLIENTS",
        argument: None,
        who: Who::All,
        what: What::Clients,
        help: "Every logged-in client: what it does, since when, and why it keeps its server.",
        columns: SOCKET,
        own: columns![
            pins: Text "Why it keeps its server beyond its transactions: reasons as in `pins_total`, with commas.",
            pinned_since: Text "Since when it has done so without a break.",
            server_pid: Int4 "Process id of the server it holds, as in `pg_stat_activity`.",
        ],
    },
    Command {
        name: "SHOW SERVERS",
        argument: None,
        who: Who::All,
        what: What::Servers,
        help: "Every server connection that has logged in, and the client that holds it.",
        columns: SOCKET,
        own: columns![
            server: Text "`primary`, `replica1`, …, as in the metrics.",
            client: Int8 "The `id` of the client that holds it, as in SHOW CLIENTS.",
            pins: Text "Why that client keeps it.",
        ],
    },
    Command {
        name: "SHOW POOLS",
        argument: None,
        who: Who::All,
        what: What::Pools,
        help: "Clients and server connections of each user and database, over all servers.",
        columns: POOLS,
        own: columns![pinned: Int4 "Server connections that their clients keep for a pin.",],
    },
    Command {
        name: "SHOW LISTS",
        argument: None,
        who: Who::All,
        what: What::Lists,
        help: "How many there are of what.",
        columns: columns![list: Text, items: Int4,],
        own: &[],
    },
    Command {
        name: "SHOW DATABASES",
        argument: None,
        who: Who::All,
        what: What::Databases,
        help: "The databases that clients have asked for.",
        columns: DATABASES,
        own: &[],
    },
    Command {
        name: "SHOW USERS",
        argument: None,
        who: Who::All,
        what: What::Users,
        help: "The roles that have come as clients.",
        columns: USERS,
        own: &[],
    },
    Command {
        name: "SHOW STATS",
        argument: None,
        who: Who::All,
        what: What::Stats,
        help: "Totals of each database since the start, and averages of the last one or two minutes.",
        columns: STATS,
        own: &[],
    },
    Command {
        name: "SHOW STATS_TOTALS",
        argument: None,
        who: Who::All,
        what: What::StatsTotals,
        help: "The totals of SHOW STATS.",
        columns: STATS_TOTALS,
        own: &[],
    },
    Command {
        name: "SHOW STATS_AVERAGES",
        argument: None,
        who: Who::All,
        what: What::StatsAverages,
        help: "The averages of SHOW STATS.",
        columns: STATS_AVERAGES,
        own: &[],
    },
    Command {
        name: "SHOW CONFIG",
        argument: None,
        who: Who::All,
        what: What::Config,
        help: "Every setting with its value and default.",
        columns: columns![
            key: Text "As in docs/CONFIG.md, without its section.",
            value: Text "As in a settings file; passwords are starred out.",
            default: Text,
            changeable: Text "Always `no`: a changed setting needs a restart. What RELOAD reads again are files.",
        ],
        own: &[],
    },
    Command {
        name: "SHOW POLICIES",
        argument: None,
        who: Who::All,
        what: What::Policies,
        help: "The rules in force, and why the last load failed, if it did.",
        columns: &[],
        own: POLICIES,
    },
    Command {
        name: "SHOW POLICY_VERSIONS",
        argument: None,
        who: Who::All,
        what: What::PolicyVersions,
        help: "The versions of the policies that are kept, newest first.",
        columns: &[],
        own: POLICY_VERSIONS,
    },
    Command {
        name: "SHOW POLICY_CANARY",
        argument: None,
        who: Who::All,
        what: What::PolicyCanary,
        help: "What the version that is tried would decide otherwise, most frequent first; no rows if none is tried.",
        columns: &[],
        own: POLICY_CANARY,
    },
    Command {
        name: "SHOW STATE",
        argument: None,
        who: Who::All,
        what: What::State,
        help: "Whether pgsluice lets clients through.",
        columns: columns![key: Text, value: Text,],
        own: &[],
    },
    Command {
        name: "SHOW VERSION",
        argument: None,
        who: Who::All,
        what: What::Version,
        help: "pgsluice's version.",
        columns: columns![version: Text,],
        own: &[],
    },
    Command {
        name: "SHOW HELP",
        argument: None,
        who: Who::All,
        what: What::Help,
        help: "The commands that you may run; `HELP` does the same.",
        columns: &[],
        own: columns![command: Text, help: Text,],
    },
    Command {
        name: "RELOAD",
        argument: None,
        who: Who::Admins,
        what: What::Reload,
        help: "Reads `auth_file`, the certificate and the policies again, as SIGHUP does; an error says what could not be read.",
        columns: &[],
        own: &[],
    },
    action(
        "RELOAD POLICIES",
        What::ReloadPolicies,
        "Reads the policies again, also back to what was rolled back. All or nothing: with a mistake in them the ones in force stay.",
    ),
    action(
        "RELOAD POLICIES CANARY",
        What::ReloadPoliciesCanary,
        "Reads the policies again, and tries them beside those in force: SHOW POLICY_CANARY has what they would decide otherwise.",
    ),
    action("PROMOTE POLICIES", What::PromotePolicies, "Puts the canary in force."),
    action(
        "ROLLBACK POLICIES",
        What::RollbackPolicies,
        "Drops the canary; without one, returns to the version before. It stays until the files change or RELOAD POLICIES.",
    ),
    Command {
        name: "KILL_CLIENT",
        argument: Some("id"),
        who: Who::Admins,
        what: What::KillClient,
        help: "Ends the client with this `id` of SHOW CLIENTS, whatever it does.",
        columns: &[],
        own: &[],
    },
];

/// A command for administrators that shows nothing.
const fn action(name: &'static str, what: What, help: &'static str) -> Command {
    Command { name, argument: None, who: Who::Admins, what, help, columns: &[], own: &[] }
}

const POLICIES: &[Column] = columns![
    rule: Text "NULL in the last row if the last load failed.",
    action: Text,
    mode: Text "`enforce` or `observe`.",
    hits: Int8 "Statements it matched since the start of pgsluice, over all versions.",
    file: Text,
    generation: Int8 "The version in force; counts from 1.",
    error: Text "Why the last load failed.",
];

const POLICY_VERSIONS: &[Column] = columns![
    generation: Int8 "NULL for a load that failed.",
    state: Text "`in force`, `canary`, `replaced`, `rolled back`, `dropped` (a canary), `failed`.",
    loaded: Text "When it was read, UTC.",
    trigger: Text "What brought it: `start`, `SIGHUP`, `file change`, a command of the console and who gave it.",
    rules: Int4,
    hash: Text "Of the files' names and texts.",
    changes: Text "Against the version in force when it was read; for a load that failed, why.",
];

const POLICY_CANARY: &[Column] = columns![
    generation: Int8 "Of the canary.",
    rule: Text "NULL in the first row, which counts statements.",
    now: Text "What the rule says in the version in force: an action, `… (observed)`, or `nothing`.",
    canary: Text "What it says in the canary.",
    statements: Int8 "Distinct statements of which that holds; in the first row, all that were judged by both.",
    fingerprint: Text "Of the first of them.",
    statement: Text "The first of them, without its values.",
];

const SOCKET: &[Column] = columns![
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

const POOLS: &[Column] = columns![
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

const DATABASES: &[Column] = columns![
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

const USERS: &[Column] = columns![
    name: Text,
    pool_size: Text "Empty: no pool size of its own.",
    reserve_pool_size: Text "Empty.",
    pool_mode: Text "NULL: no mode of its own.",
    max_user_connections: Int4 "0: no bound of its own.",
    current_connections: Int4,
    max_user_client_connections: Int4 "0: no bound of its own.",
    current_client_connections: Int4,
];

const STATS: &[Column] = columns![
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

const STATS_TOTALS: &[Column] = columns![
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

const STATS_AVERAGES: &[Column] = columns![
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A command is added here on purpose, or nobody but an administrator runs it.
    const FOR_STATS: [&str; 16] = [
        "SHOW CLIENTS",
        "SHOW SERVERS",
        "SHOW POOLS",
        "SHOW LISTS",
        "SHOW DATABASES",
        "SHOW USERS",
        "SHOW STATS",
        "SHOW STATS_TOTALS",
        "SHOW STATS_AVERAGES",
        "SHOW CONFIG",
        "SHOW POLICIES",
        "SHOW POLICY_VERSIONS",
        "SHOW POLICY_CANARY",
        "SHOW STATE",
        "SHOW VERSION",
        "SHOW HELP",
    ];

    #[test]
    fn each_role_runs_what_it_may_and_nothing_else() {
        for command in COMMANDS {
            assert!(command.allows(Role::Admin), "{}", command.name);
            assert_eq!(command.allows(Role::Stats), FOR_STATS.contains(&command.name), "{}", command.name);
        }
    }

    #[test]
    fn only_what_shows_is_for_all() {
        for command in COMMANDS.iter().filter(|command| command.who == Who::All) {
            assert_eq!(command.tag(), "SHOW", "{}", command.name);
        }
    }

    #[test]
    fn each_command_is_declared_once_and_whole() {
        for (at, command) in COMMANDS.iter().enumerate() {
            assert!(!COMMANDS[..at].iter().any(|c| c.name == command.name || c.what == command.what));
            assert!(command.help.ends_with('.') && command.name == command.name.to_uppercase());
            assert_eq!(command.all_columns().next().is_some(), command.tag() == "SHOW", "{}", command.name);
            assert_eq!(find(&command.name.to_lowercase()).map(|c| c.what), Some(command.what));
        }
    }
}
