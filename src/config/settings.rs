//! Every setting, declared once: name, type, default, meaning, and what it must satisfy. The types, the reader,
//! the defaults, `check --print` and docs/CONFIG.md all follow from this table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::load::Reader;
use super::pin::Pin;
use super::policy_path::PolicyPath;
use super::query_log::{NewFile, QueryLogText, QueryLogWhich, Share};
use super::url::ServerUrl;
use super::value::{
    AuthType, ByteSize, ClientSslMode, Fallback, ListenAddr, LogLevel, PlanMode, PolicyMode, PoolMode, Value,
};

/// One setting, for docs and messages.
#[derive(Debug)]
pub struct Setting {
    /// Empty for the settings above the first `[section]`.
    pub section: &'static str,
    pub key: &'static str,
    pub expected: &'static str,
    /// TOML; `required` if there is none.
    pub default: &'static str,
    pub doc: &'static [&'static str],
}

/// One section, for docs. Of those that come once for each name, the name of the outer table.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    pub doc: &'static [&'static str],
}

macro_rules! settings {
    (
        top { $($(#[doc = $top_doc:literal])+ $top:ident: $top_type:ty = $top_default:tt $(, where $top_check:expr => $top_message:literal)?;)+ }
        $(
            $(#[doc = $section_doc:literal])+
            $section:ident: $section_type:ident {
                $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:tt $(, where $check:expr => $message:literal)?;)+
            }
        )+
        each { $(
            $(#[doc = $named_doc:literal])+
            $named:ident: $named_type:ident {
                $($(#[doc = $own_doc:literal])+ $own:ident: $own_type:ty $(, where $own_check:expr => $own_message:literal)?;)+
            }
        )+ }
    ) => {
        /// Everything pgsluice can be told. Paths are absolute or relative to the working directory.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $top_doc])+ pub $top: $top_type,)+
            $($(#[doc = $section_doc])+ pub $section: $section_type,)+
            $($(#[doc = $named_doc])+ pub $named: BTreeMap<Box<str>, $named_type>,)+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug)]
            pub struct $section_type { $($(#[doc = $doc])+ pub $key: $type,)+ }
        )+

        $(
            $(#[doc = $named_doc])+
            #[derive(Clone, Debug, Default)]
            pub struct $named_type { $($(#[doc = $own_doc])+ pub $own: Option<$own_type>,)+ }
        )+

        /// Every section with a heading, in order.
        pub const SECTIONS: &[Section] = &[
            $(Section { name: stringify!($section), doc: &[$($section_doc),+] },)+
        ];

        /// Every setting, in order.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                section: "",
                key: stringify!($top),
                expected: <$top_type as Value>::EXPECTED,
                default: stringify!($top_default),
                doc: &[$($top_doc),+],
            },)+
            $($(Setting {
                section: stringify!($section),
                key: stringify!($key),
                expected: <$type as Value>::EXPECTED,
                default: stringify!($default),
                doc: &[$($doc),+],
            },)+)+
        ];

        /// Every kind of section that comes once for each name, in order.
        pub const NAMED_SECTIONS: &[Section] = &[
            $(Section { name: stringify!($named), doc: &[$($named_doc),+] },)+
        ];

        /// What may stand in them, in order. None has a default: what is not said holds as elsewhere.
        pub const NAMED_SETTINGS: &[Setting] = &[
            $($(Setting {
                section: stringify!($named),
                key: stringify!($own),
                expected: <$own_type as Value>::EXPECTED,
                default: "",
                doc: &[$($own_doc),+],
            },)+)+
        ];

        impl Settings {
            /// Every value as TOML, secrets starred out; in the order of [`SETTINGS`].
            #[must_use]
            pub fn shown(&self) -> Vec<String> {
                vec![$(self.$top.show(),)+ $($(self.$section.$key.show(),)+)+]
            }

            /// Reads every setting, wrong ones as their default.
            pub(super) fn read(reader: &mut Reader<'_>) -> Self {
                Self {
                    $($top: {
                        let value: $top_type = reader.value("", stringify!($top), stringify!($top_default));
                        $(if !($top_check)(&value) { reader.refuse("", stringify!($top), $top_message); })?
                        value
                    },)+
                    $($section: $section_type {
                        $($key: {
                            let value: $type = reader.value(stringify!($section), stringify!($key), stringify!($default));
                            $(if !($check)(&value) { reader.refuse(stringify!($section), stringify!($key), $message); })?
                            value
                        },)+
                    },)+
                    $($named: reader.each(stringify!($named), |entry| $named_type {
                        $($own: {
                            let value: Option<$own_type> = entry.value(stringify!($own));
                            $(if value.as_ref().is_some_and(|value| !($own_check)(value)) {
                                entry.refuse(stringify!($own), $own_message);
                            })?
                            value
                        },)+
                    }),)+
                }
            }
        }
    };
}

/// Both deadlines that would cut everything off at once and sizes that would let nothing pass are refused.
fn positive(duration: &Duration) -> bool {
    !duration.is_zero()
}

settings! {
    top {
        /// Where clients connect. Several are possible; a path is a unix socket.
        listen: Vec<ListenAddr> = ["127.0.0.1:6432"], where |list: &Vec<_>| !list.is_empty() => "must name at least one address";
        /// Where `/metrics`, `/healthz` and `/readyz` are served. Empty: nowhere.
        http: Option<ListenAddr> = "127.0.0.1:9632", where |at: &Option<ListenAddr>| !matches!(at, Some(ListenAddr::Unix(_))) => "must be host:port";
        /// Event-loop threads. 0: as many as the load on this machine is worth.
        threads: usize = 0, where |n: &usize| *n <= 1024 => "must be at most 1024";
        /// The primary, with the role that pgsluice itself logs in as. That role reads other roles' verifiers
        /// (see `auth_query`). `sslmode` stands in the URL as libpq knows it; its default is `prefer`.
        /// Several hosts are possible, `postgres://user@one:5432,two:5432/database`: new connections go to the first that
        /// is there and is a primary (`target_session_attrs=primary`, the default of a list; also `read-write`, `any`),
        /// beginning with the one of the last connection, or anywhere with `load_balance_hosts=random`.
        primary: ServerUrl = required;
        /// Streaming replicas of the primary, each with the role that reads its lag.
        replicas: Vec<ServerUrl> = [];
        /// Policy files, directories of them (`*.toml` without `*.test.toml`), or packs that are built in (`baseline`). None:
        /// the baseline observes only (`verdicts_total{mode="observe"}`), and what passes directly passes through.
        policies: Vec<PolicyPath> = [];
        /// `observe`: every rule of every policy is counted, and none acts. `enforce`: as each rule says.
        policy_mode: PolicyMode = "enforce";
    }

    /// Server connections, and clients that wait for one. Names are PgBouncer's.
    pool: PoolSettings {
        /// When a server connection goes back to the pool: after each transaction, session or statement.
        pool_mode: PoolMode = "transaction";
        /// Most connections to one server, over all users and databases together.
        pool_size: usize = 20, where |n: &usize| (1..=100_000).contains(n) => "must be from 1 to 100000";
        /// Connections to keep open to each server once a client has come.
        min_pool_size: usize = 0;
        /// Longest wait for a server connection; then the client gets `53300`. 0: for ever.
        query_wait_timeout: Duration = "120s";
        /// After this wait the client gets a NOTICE. 0: never.
        query_wait_notify: Duration = "5s";
        /// Longest time to connect and log in to a server.
        server_connect_timeout: Duration = "15s", where positive => "must be more than 0";
        /// A server connection that is unused this long is closed. 0: never.
        server_idle_timeout: Duration = "600s";
        /// A server connection older than this is closed when it is next free. 0: after one use.
        server_lifetime: Duration = "3600s";
        /// Runs once on each new server connection, before its first client; what it sets stays for all of them. It
        /// may not hold what PostgreSQL refuses inside a transaction block. Empty: nothing.
        connect_query: Option<String> = "";
        /// Longest pause between two attempts to reach a server that refuses; pauses start at 50 ms.
        server_login_retry: Duration = "15s", where positive => "must be more than 0";
        /// Prepared statements kept on each server connection. 0: none are kept from one client to the next.
        max_prepared_statements: usize = 200, where |n: &usize| *n <= 100_000 => "must be at most 100000";
        /// Prepare unnamed statements that come again, so that the server plans them once. Off where generic plans hurt.
        reuse_unnamed: bool = true;
        /// Session state that is refused (`0A000`) instead of keeping a server connection for its client: reasons as in
        /// `pins_total`.
        refuse_pins: Vec<Pin> = [];
        /// Most of `pool_size`, in percent and rounded up, that clients may keep for session state; beyond it, `53300`.
        /// Where that is all of it, a client that needs one more waits as for any.
        max_pinned_percent: usize = 90, where |n: &usize| (1..=100).contains(n) => "must be from 1 to 100";
        /// Most bytes of prepared statements that one client may hold.
        prepared_statement_bytes: ByteSize = "1MB";
        /// Connections beyond `pool_size` for clients that have waited for `reserve_pool_timeout`. 0: none.
        reserve_pool_size: usize = 0, where |n: &usize| *n <= 100_000 => "must be at most 100000";
        /// After this wait a client may have a connection of the reserve. 0: at once.
        reserve_pool_timeout: Duration = "5s";
        /// Most connections to one server for one user, over all databases. 0: no limit.
        max_user_connections: usize = 0;
        /// Most connections to one server for one database, over all users. 0: no limit.
        max_db_connections: usize = 0;
        /// Most clients at once; others get `53300`.
        max_client_conn: usize = 10000, where |n: &usize| *n > 0 => "must be at least 1";
        /// Most clients of one user at once; others get `53300`. 0: no limit.
        max_user_client_connections: usize = 0;
        /// Most clients of one database at once; others get `53300`. 0: no limit.
        max_db_client_connections: usize = 0;
        /// Longest time for a client to log in.
        client_login_timeout: Duration = "60s", where positive => "must be more than 0";
        /// Cleans a server connection between two clients where something may be left on it.
        reset_query: String = "DISCARD ALL", where |text: &String| !text.trim().is_empty() => "must not be empty";
    }

    /// How long clients may take. 0: for ever. All but `cancel_wait_timeout` may stand in `[databases.<name>]` and
    /// `[users.<name>]` too. They are never early, and late by some 100 ms.
    timeouts: TimeoutSettings {
        /// A client that sends nothing and is in no transaction is closed with `57P05`.
        client_idle_timeout: Duration = "0s";
        /// A client that sends nothing inside a transaction is closed with `25P03`; the transaction is rolled back.
        idle_transaction_timeout: Duration = "0s";
        /// A client whose transaction lasts longer is closed with `25P04`; the transaction is rolled back. A statement
        /// outside of a transaction block is a transaction of its own.
        transaction_timeout: Duration = "0s";
        /// A statement that runs longer is cancelled on the server and ends with `57014`; the client stays.
        query_timeout: Duration = "0s";
        /// A statement that was cancelled and does not end loses its server connection, and its client is closed with
        /// `57014`.
        cancel_wait_timeout: Duration = "10s", where positive => "must be more than 0";
        /// A client that takes nothing of its result is closed, so that its server comes free.
        client_write_timeout: Duration = "0s";
    }

    /// How clients log in.
    auth: AuthSettings {
        /// What is asked of clients. `auto`: what the role's stored secret is for. `cert`: a client certificate whose
        /// common name is the user (needs `client_tls_sslmode = "verify-full"`); server connections then need the user's
        /// password in `auth_file`, or a server that asks for none. Over TLS, SCRAM is offered with channel binding too.
        auth_type: AuthType = "auto";
        /// Reads a role's stored secret on the primary: `$1` is the role, the answer is its name and its secret.
        /// Every name and operator in it should be schema-qualified.
        auth_query: String = "SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin";
        /// A PgBouncer `userlist.txt`: `"user" "secret"` a line. It is asked before `auth_query`.
        auth_file: Option<PathBuf> = "";
    }

    /// What is known of the databases: tables and sizes, columns, indexes, views. Read through `primary`'s login.
    catalog: CatalogSettings {
        /// Off: rules that ask for sizes, indexes or columns get no answer.
        enabled: bool = true;
        /// How often a database is read again. What has changed is read; a change of the schema that passes through
        /// pgsluice is read at once.
        refresh: Duration = "60s", where positive => "must be more than 0";
        /// A reading that takes longer is given up, and tried again later.
        timeout: Duration = "30s", where positive => "must be more than 0";
        /// Tables of one database; with more nothing is known of it. Some 2 KB of memory each.
        max_tables: usize = 100000;
        /// Databases that are read; further ones are unknown.
        max_databases: usize = 32;
    }

    /// The planner's own view, for rules that read `plan.…`: asked on the server that is about to run a statement, with
    /// its parameters, once for each kind of statement.
    plan: PlanSettings {
        /// `inline`: the statement waits for the answer. `background`: no statement waits; it is asked on a connection beside
        /// the pool, later sights are judged by the answer, and the rule's `on_unknown` decides until then. A policy file or a
        /// rule may say so for itself (`plan = "background"`). `off`: nobody is asked, and rules that read plans get no answer.
        mode: PlanMode = "inline";
        /// How long the planner may think; after that the rule's `on_unknown` decides.
        deadline: Duration = "50ms", where positive => "must be more than 0";
        /// How long a plan is good for. It is asked for again sooner when the schema or the statistics change, and when a
        /// statement of 50 ms or more takes three times longer or shorter than expected.
        ttl: Duration = "10m", where positive => "must be more than 0";
        /// Statements over smaller tables are not planned for rules; a table of unknown size counts as large.
        min_rows: usize = 10000;
        /// Plans kept by each thread.
        max_plans: usize = 4096;
        /// Connections beside the pool for questions that no statement waits for, each logged in as the client's own user:
        /// plans in the background, and what the planner says of an index that would help (`hypopg`). They are closed when
        /// nobody needs them.
        side_connections: usize = 2, where |n: &usize| (1..=100).contains(n) => "must be from 1 to 100";
        /// Such questions a second. A few hundred wait in line, more are dropped and counted.
        side_rate: usize = 20, where |n: &usize| (1..=10_000).contains(n) => "must be from 1 to 10000";
    }

    /// The console: the database `pgsluice` (or `pgbouncer`), which is pgsluice's own. See docs/CONSOLE.md.
    admin: AdminSettings {
        /// Roles that may run every command of the console. They log in as they do elsewhere.
        admin_users: Vec<String> = [];
        /// Roles that may run what only shows something.
        stats_users: Vec<String> = [];
    }

    /// TLS with clients.
    client_tls: ClientTlsSettings {
        /// Empty: `prefer` if there is a certificate, else `disable`. `verify-ca` and `verify-full` both ask for a client
        /// certificate that `client_tls_ca_file` vouches for.
        client_tls_sslmode: Option<ClientSslMode> = "";
        /// Certificate chain, PEM.
        client_tls_cert_file: Option<PathBuf> = "";
        /// Private key, PEM.
        client_tls_key_file: Option<PathBuf> = "";
        /// Authorities that client certificates are checked with, PEM.
        client_tls_ca_file: Option<PathBuf> = "";
    }

    /// TLS with servers. Whether it is used stands in each URL as `sslmode`; `sslrootcert`, `sslcert` and `sslkey` in
    /// a URL go before the files named here. `channel_binding` (`prefer`, `require`, `disable`) and
    /// `sslnegotiation` (`postgres`, `direct`) stand there as libpq knows them.
    server_tls: ServerTlsSettings {
        /// Roots to trust, PEM. Empty: the system's.
        server_tls_ca_file: Option<PathBuf> = "";
        /// Our own certificate for servers that ask for one, with its chain, PEM.
        server_tls_cert_file: Option<PathBuf> = "";
        /// Its private key, PEM.
        server_tls_key_file: Option<PathBuf> = "";
    }

    /// Which replicas may serve reads.
    replica: ReplicaSettings {
        /// A replica that is further behind serves nothing.
        max_lag: Duration = "5s";
        /// How often each server is asked for its role and lag.
        check_interval: Duration = "1s", where positive => "must be more than 0";
    }

    /// Reading and judging statements.
    guard: GuardSettings {
        /// A longer statement is not parsed: it counts as `unparsed`, and so does a shorter one of so many statements, names
        /// and calls that reading it would take more than about 50 ms.
        max_statement_bytes: ByteSize = "1MB", where |size: &ByteSize| size.0 <= 1 << 30 => "must be at most 1GB";
        /// Memory for verdicts of statements already seen, over all threads.
        cache_bytes: ByteSize = "32MB";
        /// How often policy files are looked at; what changed is read again once it has stood still as long. 0: only on
        /// SIGHUP and RELOAD.
        policy_check_interval: Duration = "1s";
        /// How long changed policies are tried beside those in force before they take over: `SHOW POLICY_CANARY` has what
        /// they would decide otherwise. 0: they take over at once.
        policy_canary: Duration = "0s";
        /// Versions of the policies kept in memory, for `ROLLBACK POLICIES`.
        policy_versions_kept: usize = 10, where |n: &usize| (2..=1000).contains(n) => "must be from 2 to 1000";
    }

    /// Bounds over all clients together.
    limits: LimitSettings {
        /// Most bytes of statements that wait to be judged.
        max_buffered_bytes: ByteSize = "256MB";
        /// Values (users, addresses, …) for which rates and concurrencies of policies are counted apart. Beyond it those
        /// of a rule are counted together; values that nobody uses make room.
        max_counted_values: usize = 10000, where |n: &usize| (1..=10_000_000).contains(n) => "must be from 1 to 10000000";
    }

    /// How many series `/metrics` may have.
    metrics: MetricSettings {
        /// Users and databases (as pairs) with series of their own, for each server and for the clients; later ones
        /// are `other`.
        label_pairs: usize = 200, where |n: &usize| (1..=100_000).contains(n) => "must be from 1 to 100000";
        /// Fingerprints with series of their own on `/metrics`, by cost; the rest is `other`.
        top_fingerprints: usize = 50, where |n: &usize| *n <= 10_000 => "must be at most 10000";
        /// Fingerprints counted in memory.
        tracked_fingerprints: usize = 1000, where |n: &usize| *n <= 1_000_000 => "must be at most 1000000";
    }

    /// The log, on standard error. Lines about clients are bounded to 10 a second in the long run and 100 at once; the
    /// next line says how many were left out.
    log: LogSettings {
        /// Least severe level that is logged.
        log_level: LogLevel = "info";
        /// Log each client that logs in: user, database, address, TLS.
        log_connections: bool = true;
        /// Log each client that leaves, and why.
        log_disconnections: bool = true;
    }

    /// A line for each statement, for `pgsluice replay` and other tools; docs/REPLAY.md has its form. No statement waits
    /// for it: what does not fit, or the disk does not take, is dropped and counted (`query_log_lines_total`).
    query_log: QueryLogSettings {
        /// The file. Empty: there is none. Only its owner may read it. SIGHUP and RELOAD open it anew.
        path: Option<NewFile> = "";
        /// `all`; `judged`: those of which a rule spoke (in mode observe, too); `slow`: those that took `min_duration`.
        which: QueryLogWhich = "all";
        /// What `slow` is.
        min_duration: Duration = "100ms";
        /// The share of these that is written, by chance.
        sample: Share = 1.0;
        /// `normalized`: literals left out, and with them most secrets. `full`: as they were written, but for texts that
        /// may hold a password, which are normalized all the same.
        text: QueryLogText = "normalized";
        /// Write the values of parameters that come as text, or in binary of a common type; never of a statement that may hold a password.
        parameters: bool = false;
        /// A file of this size is set aside as `<path>.1`, that one as `<path>.2`, and so on.
        max_file: ByteSize = "100MB", where |size: &ByteSize| size.0 > 0 => "must be more than 0";
        /// Files that are kept, with the one that is written: `max_file` times `files` is all that the log takes of a disk.
        files: usize = 10, where |n: &usize| (1..=1000).contains(n) => "must be from 1 to 1000";
        /// Memory for lines on their way to the disk.
        max_buffered: ByteSize = "4MB", where |size: &ByteSize| size.0 >= 65_536 => "must be at least 64kB";
    }

    each {
        /// A lane, `[lanes.analytics]`: servers of its own for statements that rules send there (`route = "analytics"`),
        /// so that they take nothing from others. Only what is provably read-only goes there, as to a replica; a client
        /// reads nothing there that is older than what it wrote itself. The names `primary` and `replica` are taken.
        lanes: LaneSettings {
            /// Streaming replicas of the primary, each with the role that reads its lag; one may be among `replicas` too.
            /// Required.
            servers: Vec<ServerUrl>, where |list: &Vec<_>| !list.is_empty() => "must name at least one server";
            /// Most connections to each of its servers, whoever they are for; there is no reserve beyond it, and none is kept
            /// open for later. Default `pool.pool_size`.
            pool_size: usize, where |n: &usize| (1..=100_000).contains(n) => "must be from 1 to 100000";
            /// A server of it that is further behind serves nothing. Default `replica.max_lag`.
            max_lag: Duration;
            /// Who stands in while none of its servers can be reached or is fresh enough: `none`, and a statement for it is
            /// refused (`57P03`); `replica`, one of `replicas`, and else it is refused; `primary`. Default `none`.
            fallback: Fallback;
        }

        /// What differs for one database, `[databases.shop]`: wins over the sections above. The name is the one clients
        /// give; `[databases."*"]` is for those without a section of their own.
        databases: DatabaseSettings {
            /// The database's name on the server.
            dbname: String, where |name: &String| !name.is_empty() => "must not be empty";
            /// When a server connection goes back to the pool.
            pool_mode: PoolMode;
            /// Most connections to one server for this database and one user. `pool.pool_size` holds as well, for all.
            pool_size: usize, where |n: &usize| (1..=100_000).contains(n) => "must be from 1 to 100000";
            /// Connections beyond `pool_size` for clients that have waited for `reserve_pool_timeout`.
            reserve_pool_size: usize, where |n: &usize| *n <= 100_000 => "must be at most 100000";
            /// Connections to keep open for each user of this database who has come.
            min_pool_size: usize, where |n: &usize| *n <= 100_000 => "must be at most 100000";
            /// Most connections to one server for this database, over all users. 0: no limit.
            max_db_connections: usize;
            /// Most clients of this database at once. 0: no limit.
            max_db_client_connections: usize;
            /// A server connection older than this is closed when it is next free. 0: after one use.
            server_lifetime: Duration;
            /// Longest wait for a server connection. 0: for ever.
            query_wait_timeout: Duration;
            /// Runs once on each new server connection; see `pool.connect_query`.
            connect_query: String;
            /// An unnamed statement that is prepared again and again may be kept on the server under a name. Default
            /// `true`.
            reuse_unnamed: bool;
            /// As in `[timeouts]`.
            client_idle_timeout: Duration;
            /// As in `[timeouts]`.
            idle_transaction_timeout: Duration;
            /// As in `[timeouts]`.
            transaction_timeout: Duration;
            /// As in `[timeouts]`.
            query_timeout: Duration;
            /// As in `[timeouts]`.
            client_write_timeout: Duration;
        }

        /// What differs for one user, `[users.etl]`: wins over everything above. `[users."*"]` is for those without a
        /// section of their own.
        users: UserSettings {
            /// When a server connection goes back to the pool.
            pool_mode: PoolMode;
            /// Most connections to one server for this user and one database.
            pool_size: usize, where |n: &usize| (1..=100_000).contains(n) => "must be from 1 to 100000";
            /// Connections beyond `pool_size` for clients that have waited for `reserve_pool_timeout`.
            reserve_pool_size: usize, where |n: &usize| *n <= 100_000 => "must be at most 100000";
            /// Most connections to one server for this user, over all databases. 0: no limit.
            max_user_connections: usize;
            /// Most clients of this user at once. 0: no limit.
            max_user_client_connections: usize;
            /// Longest wait for a server connection. 0: for ever.
            query_wait_timeout: Duration;
            /// As in `[timeouts]`.
            client_idle_timeout: Duration;
            /// As in `[timeouts]`.
            idle_transaction_timeout: Duration;
            /// As in `[timeouts]`.
            transaction_timeout: Duration;
            /// As in `[timeouts]`.
            query_timeout: Duration;
            /// As in `[timeouts]`.
            client_write_timeout: Duration;
        }
    }
}
