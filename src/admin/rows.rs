//! What the console's lists show, from the cards and the pools.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ask::printable;
use super::commands::{COMMANDS, Role, What};
use super::sheet::{Sheet, Value, help};
use super::{advice, is_console, lanes, limits, policies, stats};
use crate::config::{Host, SETTINGS};
use crate::observe::counters::ClientState;
use crate::pool::card::{Duty, ServerCard};
use crate::proxy::card::ClientCard;
use crate::proxy::stream::Peer;
use crate::proxy::thread::Shared;

/// Writes what a command shows.
pub(super) fn write(what: What, shared: &Shared, role: Role, sheet: &mut Sheet) {
    match what {
        What::Help => help(COMMANDS.iter().filter(|command| command.allows(role)), sheet),
        What::Version => sheet.row(&[Value::Text(concat!("pgsluice ", env!("CARGO_PKG_VERSION")))]),
        What::State => state(sheet),
        What::Clients => clients(shared, sheet),
        What::Servers => servers(shared, sheet),
        What::Pools => pools(shared, sheet),
        What::Lists => lists(shared, sheet),
        What::Databases => databases(shared, sheet),
        What::Users => users(shared, sheet),
        What::Stats | What::StatsTotals | What::StatsAverages => stats::write(what, shared, sheet),
        What::Config => config(shared, sheet),
        What::Policies => policies::rules(shared, sheet),
        What::PolicyVersions => policies::versions(shared, sheet),
        What::PolicyCanary => policies::canary(shared, sheet),
        What::Catalog => catalog(shared, sheet),
        What::Lanes => lanes::write(shared, sheet),
        What::Advice => advice::write(shared, sheet),
        What::Limits => limits::write(shared, sheet),
        What::Reload
        | What::ReloadPolicies
        | What::ReloadPoliciesCanary
        | What::PromotePolicies
        | What::RollbackPolicies
        | What::ReloadCatalog
        | What::KillClient => {}
    }
}

fn catalog(shared: &Shared, sheet: &mut Sheet) {
    let snapshot = shared.snapshot.load();
    let mut databases: Vec<_> = snapshot.catalogs.iter().collect();
    databases.sort_unstable_by_key(|(name, _)| *name);
    for (name, catalog) in databases {
        let reading = snapshot.catalog_readings.get(name);
        let took = |took: std::time::Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        sheet.row(&[
            Value::Text(name),
            Value::count(catalog.tables.len()),
            Value::count(catalog.tables.iter().map(|table| table.indexes.len()).sum()),
            Value::count(catalog.tables.iter().filter(|table| table.kind.ends_with("view")).count()),
            Value::count(catalog.functions.len()),
            reading.map_or(Value::Null, |reading| time(reading.at)),
            reading.map_or(Value::Null, |reading| Value::Number(took(reading.took))),
        ]);
    }
}

/// Every client, the oldest first. No lock is held but for the copy of a few pointers.
fn cards(shared: &Shared) -> Vec<Arc<ClientCard>> {
    let mut cards: Vec<_> = shared.mailboxes.iter().map(|entry| Arc::clone(&entry.card)).collect();
    cards.sort_unstable_by_key(|card| card.id);
    cards
}

fn nodes(shared: &Shared) -> impl Iterator<Item = &Arc<crate::pool::Node>> {
    std::iter::once(&shared.primary).chain(&shared.replicas)
}

fn state(sheet: &mut Sheet) {
    for (key, value) in [("active", "yes"), ("paused", "no"), ("suspended", "no")] {
        sheet.row(&[Value::Text(key), Value::Text(value)]);
    }
}

/// As PgBouncer shows it: one side's `link` is the other's `ptr`.
fn client_ptr(id: u64) -> String {
    format!("{:#x}", 0xc000_0000_0000_u64 | id)
}

fn server_ptr(id: u64) -> String {
    format!("{:#x}", 0x5000_0000_0000_u64 | id)
}

fn address(peer: &Peer) -> (String, Value<'static>) {
    match peer {
        Peer::Ip(address) => (address.ip().to_canonical().to_string(), Value::Number(address.port().into())),
        Peer::Unix { .. } => ("unix".to_owned(), Value::Number(0)),
        Peer::Unknown => ("unknown".to_owned(), Value::Null),
    }
}

fn joined(pins: impl Iterator<Item = &'static str>) -> String {
    pins.collect::<Vec<_>>().join(",")
}

fn pid(pid: i32) -> Value<'static> {
    Value::Number(pid.unsigned_abs().into())
}

pub(super) fn time(at: SystemTime) -> Value<'static> {
    Value::Time(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn tls(tls: bool) -> Value<'static> {
    Value::Text(if tls { "TLS" } else { "" })
}

fn clients(shared: &Shared, sheet: &mut Sheet) {
    let now = Instant::now();
    for card in cards(shared) {
        client(&card, now, sheet);
    }
}

fn client(card: &ClientCard, now: Instant, sheet: &mut Sheet) {
    let wait = card.wait(now).unwrap_or_default();
    let server = card.server();
    let link = server.map(|(id, _)| server_ptr(id)).unwrap_or_default();
    let application = card.settings.get("application_name").unwrap_or_default();
    let application: String = application.chars().flat_map(printable).collect();
    let ((addr, port), (local_addr, local_port)) = (address(&card.peer), address(&card.local));
    sheet.row(&[
        Value::Text("C"),
        Value::Text(&card.class.user),
        Value::Text(&card.class.database),
        Value::Text("none"),
        Value::Text(ClientState::LABELS[card.state() as usize]),
        Value::Text(&addr),
        port,
        Value::Text(&local_addr),
        local_port,
        time(card.since),
        time(card.requested().unwrap_or(card.since)),
        Value::Number(wait.as_secs()),
        Value::Number(wait.subsec_micros().into()),
        Value::Number(0),
        Value::Text(&client_ptr(card.id)),
        Value::Text(&link),
        Value::Number(0),
        tls(card.tls),
        Value::Text(&application),
        Value::Null,
        Value::Number(card.id),
        Value::Text(&joined(card.pins())),
        card.pinned_since().map_or(Value::Null, time),
        server.map_or(Value::Null, |(_, server)| pid(server)),
    ]);
}

fn servers(shared: &Shared, sheet: &mut Sheet) {
    let clients = cards(shared);
    for node in nodes(shared) {
        for card in node.cards() {
            server(&clients, &node.name, &card, sheet);
        }
    }
}

fn server(clients: &[Arc<ClientCard>], node: &str, card: &ServerCard, sheet: &mut Sheet) {
    let duty = card.duty();
    let (state, holder) = match duty {
        Duty::Idle => ("idle", None),
        Duty::Reset => ("tested", None),
        Duty::Lent(client) => ("active", Some(client)),
    };
    let at = holder.and_then(|id| clients.binary_search_by_key(&id, |client| client.id).ok());
    let client = at.and_then(|at| clients.get(at));
    let requested = client.and_then(|client| client.requested());
    let pins = client.map(|client| joined(client.pins())).unwrap_or_default();
    let application = client.and_then(|client| client.settings.get("application_name"));
    let application: String = application.unwrap_or_default().chars().flat_map(printable).collect();
    let link = holder.map(client_ptr).unwrap_or_default();
    let ((addr, port), (local_addr, local_port)) = (address(&card.peer), address(&card.local));
    sheet.row(&[
        Value::Text("S"),
        Value::Text(&card.user),
        Value::Text(&card.database),
        Value::Text("none"),
        Value::Text(state),
        Value::Text(&addr),
        port,
        Value::Text(&local_addr),
        local_port,
        time(card.since),
        time(requested.unwrap_or_else(|| card.rested())),
        Value::Number(0),
        Value::Number(0),
        Value::Number(0),
        Value::Text(&server_ptr(card.id)),
        Value::Text(&link),
        pid(card.pid),
        tls(card.tls),
        Value::Text(&application),
        Value::Null,
        Value::Number(card.id),
        Value::Text(node),
        holder.map_or(Value::Null, Value::Number),
        Value::Text(&pins),
    ]);
}

/// What a user has in a database, over all servers.
#[derive(Default)]
struct Pool {
    clients: usize,
    waiting: usize,
    pinned: usize,
    maxwait: Duration,
    active: usize,
    idle: usize,
    tested: usize,
    login: usize,
}

impl Pool {
    fn servers(&self) -> usize {
        self.active + self.idle + self.tested + self.login
    }
}

/// By database and user.
type Pools = BTreeMap<(Box<str>, Box<str>), Pool>;

fn all_pools(shared: &Shared) -> Pools {
    let (now, mut pools) = (Instant::now(), Pools::new());
    for node in nodes(shared) {
        let cards = node.cards();
        for census in node.census() {
            let resets = cards.iter().filter(|card| {
                card.duty() == Duty::Reset && card.user == census.user && card.database == census.database
            });
            let tested = resets.count().min(census.active);
            let pool = pools.entry(((&*census.database).into(), (&*census.user).into())).or_default();
            pool.active += census.active - tested;
            pool.tested += tested;
            pool.idle += census.idle;
            pool.login += census.login;
        }
    }
    for card in cards(shared) {
        let pool = pools.entry((card.class.database.clone(), card.class.user.clone())).or_default();
        pool.clients += 1;
        pool.waiting += usize::from(card.state() == ClientState::Waiting);
        pool.pinned += usize::from(card.server().is_some() && card.pins().next().is_some());
        pool.maxwait = pool.maxwait.max(card.wait(now).unwrap_or_default());
    }
    pools
}

/// The console has no servers, and a mode of its own.
fn mode<'a>(shared: &'a Shared, database: &str) -> Value<'a> {
    Value::Text(if is_console(database) { "statement" } else { shared.settings.pool.pool_mode.name() })
}

fn pools(shared: &Shared, sheet: &mut Sheet) {
    for ((database, user), pool) in all_pools(shared) {
        let none = Value::Number(0);
        sheet.row(&[
            Value::Text(&database),
            Value::Text(&user),
            Value::count(pool.clients - pool.waiting),
            Value::count(pool.waiting),
            none,
            none,
            Value::count(pool.active),
            none,
            none,
            Value::count(pool.idle),
            none,
            Value::count(pool.tested),
            Value::count(pool.login),
            Value::Number(pool.maxwait.as_secs()),
            Value::Number(pool.maxwait.subsec_micros().into()),
            mode(shared, &database),
            Value::Null,
            Value::count(pool.pinned),
        ]);
    }
}

fn lists(shared: &Shared, sheet: &mut Sheet) {
    let pools = all_pools(shared);
    let distinct =
        |part: fn(&(Box<str>, Box<str>)) -> &str| pools.keys().map(part).collect::<BTreeSet<_>>().len();
    let clients = shared.clients.load(Ordering::Relaxed);
    let rows = [
        ("databases", distinct(|key| &key.0)),
        ("users", distinct(|key| &key.1)),
        ("peers", 0),
        ("pools", pools.len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", clients),
        ("login_clients", clients.saturating_sub(shared.mailboxes.len())),
        ("free_servers", 0),
        ("used_servers", pools.values().map(Pool::servers).sum()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    for (list, items) in rows {
        sheet.row(&[Value::Text(list), Value::count(items)]);
    }
}

/// Clients and servers by a part of the pools' names.
fn grouped(pools: &Pools, part: fn(&(Box<str>, Box<str>)) -> &str) -> BTreeMap<&str, (usize, usize)> {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (key, pool) in pools {
        let (clients, servers) = groups.entry(part(key)).or_default();
        *clients += pool.clients;
        *servers += pool.servers();
    }
    groups
}

fn databases(shared: &Shared, sheet: &mut Sheet) {
    let (host, port) = match &shared.primary.target.host {
        Host::Tcp(host, port) => (host.clone(), *port),
        Host::Unix(directory, port) => (directory.to_string_lossy().into_owned(), *port),
    };
    let (limits, none) = (&shared.primary.limits, Value::Number(0));
    for (database, (clients, servers)) in grouped(&all_pools(shared), |key| &key.0) {
        let own = is_console(database);
        let or_none = |value: Value<'static>| if own { Value::Number(0) } else { value };
        let terms = shared.settings.terms("", database);
        sheet.row(&[
            Value::Text(database),
            if own { Value::Null } else { Value::Text(&host) },
            if own { Value::Null } else { Value::Number(port.into()) },
            Value::Text(if own { database } else { &terms.dbname }),
            Value::Null,
            or_none(Value::count(terms.pool_size.unwrap_or(limits.pool_size))),
            or_none(Value::count(terms.min_pool_size)),
            or_none(Value::count(terms.reserve_pool_size)),
            or_none(Value::Number(terms.server_lifetime.as_secs().min(i32::MAX as u64))),
            mode(shared, database),
            Value::Null,
            or_none(Value::count(terms.max_db_connections.unwrap_or(0))),
            Value::count(servers),
            none,
            Value::count(clients),
            none,
            none,
        ]);
    }
}

fn users(shared: &Shared, sheet: &mut Sheet) {
    let none = Value::Number(0);
    for (user, (clients, servers)) in grouped(&all_pools(shared), |key| &key.1) {
        let (clients, servers) = (Value::count(clients), Value::count(servers));
        let unset = Value::Text("");
        sheet.row(&[Value::Text(user), unset, unset, Value::Null, none, servers, none, clients]);
    }
}

/// TOML, without the quotes of a plain string.
fn plain(toml: &str) -> &str {
    let inside = toml.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.filter(|text| !text.contains(['"', '\\'])).unwrap_or(toml)
}

fn config(shared: &Shared, sheet: &mut Sheet) {
    for (setting, value) in SETTINGS.iter().zip(shared.settings.shown()) {
        let default = match setting.default {
            "required" => Value::Null,
            default => Value::Text(plain(default)),
        };
        sheet.row(&[Value::Text(setting.key), Value::Text(plain(&value)), default, Value::Text("no")]);
    }
}
