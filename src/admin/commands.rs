//! Every command of the console, declared once: its name, who may run it, what it shows. What is not declared here
//! nobody can run. Pure.

use super::columns::{
    DATABASES, LANES, LIMITS, POLICIES, POLICY_CANARY, POLICY_VERSIONS, POOLS, SOCKET, STATS, STATS_AVERAGES,
    STATS_TOTALS, USERS, columns,
};

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
    Catalog,
    Lanes,
    Advice,
    Limits,
    Reload,
    ReloadPolicies,
    ReloadPoliciesCanary,
    PromotePolicies,
    RollbackPolicies,
    ReloadCatalog,
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
            server: Text "`primary`, `replica1`, …, `analytics1`, … of a lane, as in the metrics.",
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
        help: "What the version that is tried would decide otherwise, most frequent first; no rows if none is tried. Rules that are asked at each run (session, time, values, share) are compared at each run, up to 2,000 a second and thread; what a rule that reads the plan says only where the version in force asks for it.",
        columns: &[],
        own: POLICY_CANARY,
    },
    Command {
        name: "SHOW CATALOG",
        argument: None,
        who: Who::All,
        what: What::Catalog,
        help: "What is known of the databases' tables, for rules that ask; no rows without policies.",
        columns: columns![
            database: Text,
            tables: Int8 "Views, partitions and foreign tables too.",
            indexes: Int8,
            views: Int8,
            functions: Int8 "Those that are not PostgreSQL's own.",
            read: Text "When it was last read with a difference, UTC.",
            milliseconds: Int8 "How long that took.",
        ],
        own: &[],
    },
    Command {
        name: "SHOW LANES",
        argument: None,
        who: Who::All,
        what: What::Lanes,
        help: "Every server by the lane it serves, and whether statements may go there.",
        columns: &[],
        own: LANES,
    },
    Command {
        name: "SHOW ADVICE",
        argument: None,
        who: Who::All,
        what: What::Advice,
        help: "Indexes that would help statements whose plans were asked for, those that would have saved most time first. A row goes once the index is there.",
        columns: columns![
            database: Text,
            fingerprint: Text "Of the statement, as in the metrics.",
            table: Text,
            statement: Text "What makes the index; `REINDEX` where it is there, but invalid.",
            checked: Text "`checked: cost 12,345 → 8` where the extension `hypopg` is in the database: the planner would use it. What it would not use is not listed.",
            calls: Int8 "Runs of the statement since it is listed.",
            blocked: Int8 "Times that a policy refused it.",
            milliseconds: Int8 "What the runs took.",
            gain: Text "Share of the cost that the index saves; NULL if it was not checked.",
            last_seen: Text "When it last ran or was refused, UTC.",
            why: Text,
            query: Text "The statement, without its values.",
        ],
        own: &[],
    },
    Command {
        name: "SHOW LIMITS",
        argument: None,
        who: Who::All,
        what: What::Limits,
        help: "The limits of the policies in force, and below each what is counted of it now: at most 1,000 counts, those that clients wait for first.",
        columns: &[],
        own: LIMITS,
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
    action(
        "RELOAD CATALOG",
        What::ReloadCatalog,
        "Has every database's catalog read now; it does not wait for that.",
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A command is added here on purpose, or nobody but an administrator runs it.
    const FOR_STATS: [&str; 20] = [
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
        "SHOW CATALOG",
        "SHOW LANES",
        "SHOW ADVICE",
        "SHOW LIMITS",
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
