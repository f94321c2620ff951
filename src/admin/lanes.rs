//! `SHOW LANES`: every server by the lane it serves, and whether it may be used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sheet::{Sheet, Value};
use crate::config::{Fallback, Host};
use crate::guard::Lane;
use crate::pool::Node;
use crate::proxy::thread::Shared;

pub(super) fn write(shared: &Shared, sheet: &mut Sheet) {
    let topology = shared.snapshot.load().topology.clone();
    let lanes = shared.settings.known_lanes();
    let now = Instant::now();
    let primary = &topology.primary;
    row(shared, &shared.primary, lanes.name(Lane::Primary), primary.why_not.as_deref(), None, sheet);
    for (node, state) in shared.replicas.iter().zip(&topology.replicas) {
        let overdue = (!state.usable_at(now)).then_some("the probe is stuck");
        let why = state.why_not.as_deref().or(overdue);
        row(shared, node, lanes.name(node.lane), why, state.lag, sheet);
    }
}

fn row(
    shared: &Shared,
    node: &Arc<Node>,
    lane: &str,
    why_not: Option<&str>,
    lag: Option<Duration>,
    sheet: &mut Sheet,
) {
    let (host, port) = match &node.target.host {
        Host::Tcp(host, port) => (host.clone(), *port),
        Host::Unix(directory, port) => (directory.to_string_lossy().into_owned(), *port),
    };
    let millis = |time: Duration| Value::Number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let named = shared.named(node.lane);
    let (max_lag, fallback) = match (node.lane, named) {
        (Lane::Primary, _) => (None, None),
        (_, None) => (Some(shared.settings.replica.max_lag), Some(Fallback::Primary)),
        (_, Some(named)) => (Some(named.max_lag), Some(named.fallback)),
    };
    let connections = node.census().iter().map(|c| c.login + c.idle + c.active).sum();
    sheet.row(&[
        Value::Text(lane),
        Value::Text(&node.name),
        Value::Text(&host),
        Value::Number(port.into()),
        Value::Text(if why_not.is_none() { "yes" } else { "no" }),
        why_not.map_or(Value::Null, Value::Text),
        lag.map_or(Value::Null, millis),
        max_lag.map_or(Value::Null, millis),
        Value::count(node.limits.pool_size),
        Value::count(connections),
        fallback.map_or(Value::Null, |fallback| Value::Text(fallback.name())),
    ]);
}
