//! What lanes must satisfy together with all else, and what follows from them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::load::Reader;
use super::settings::{LaneSettings, Settings};
use super::url::ServerUrl;
use super::value::Fallback;
use crate::guard::{Lane, Lanes};

/// A server of a lane.
#[derive(Debug)]
pub struct LaneServer<'a> {
    /// Its label in metrics, log and errors.
    pub label: String,
    pub of: Lane,
    pub lane: &'a LaneSettings,
    pub url: &'a ServerUrl,
}

impl Settings {
    /// The lanes by name, as policies may call them.
    #[must_use]
    pub fn known_lanes(&self) -> Lanes {
        Lanes::new(self.lanes.keys().take(Lanes::MOST).map(|name| &**name))
    }

    /// Every lane's servers, lane by lane in the order of [`Settings::known_lanes`]. They are called `analytics1`,
    /// `analytics2`, … as replicas are `replica1`, ….
    pub fn lane_servers(&self) -> impl Iterator<Item = LaneServer<'_>> {
        (0u8..).zip(&self.lanes).take(Lanes::MOST).flat_map(|(at, (name, lane))| {
            (1..).zip(lane.servers.iter().flatten()).map(move |(n, url)| LaneServer {
                label: format!("{name}{n}"),
                of: Lane::Named(at),
                lane,
                url,
            })
        })
    }
}

impl LaneSettings {
    /// Most connections to each of its servers.
    #[must_use]
    pub fn pool_size(&self, settings: &Settings) -> usize {
        self.pool_size.unwrap_or(settings.pool.pool_size)
    }

    /// A server further behind serves nothing.
    #[must_use]
    pub fn max_lag(&self, settings: &Settings) -> Duration {
        self.max_lag.unwrap_or(settings.replica.max_lag)
    }

    /// Who stands in for it.
    #[must_use]
    pub fn fallback(&self) -> Fallback {
        self.fallback.unwrap_or(Fallback::None)
    }
}

pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let mut labels: BTreeSet<String> = (1..=settings.replicas.len()).map(|n| format!("replica{n}")).collect();
    for (at, (name, lane)) in settings.lanes.iter().enumerate() {
        if let Some(why) = Lanes::misnamed(name) {
            reader.refuse_section(
                "lanes",
                name,
                format!("`{}` {why}", crate::document::short(name)),
                "give it another name",
            );
        } else if at >= Lanes::MOST {
            let message = format!("there are more than {} lanes", Lanes::MOST);
            reader.refuse_section("lanes", name, message, "let some of them share their servers");
        } else if !reader.names("lanes", name, "servers") {
            let cure =
                "add `servers = [\"postgres://user:password@host:5432/database\"]`, one or more replicas";
            reader.refuse_section("lanes", name, format!("the lane `{name}` has no `servers`"), cure);
        }
        servers(settings, name, lane, reader);
        if lane.fallback == Some(Fallback::Replica) && settings.replicas.is_empty() {
            reader.refuse_named("lanes", name, "fallback", "leads nowhere: there are no `replicas`");
        }
    }
    for server in settings.lane_servers() {
        if !labels.insert(server.label.clone()) {
            let name = settings.known_lanes().name(server.of).to_owned();
            let message =
                format!("a server of the lane `{name}` would be called `{}` as another is", server.label);
            reader.refuse_section("lanes", &name, message, "give it a name that does not end in a digit");
        }
    }
}

fn servers(settings: &Settings, name: &str, lane: &LaneSettings, reader: &mut Reader<'_>) {
    let urls = lane.servers.as_deref().unwrap_or_default();
    if urls.iter().any(|url| !url.more_hosts.is_empty()) {
        reader.refuse_named("lanes", name, "servers", "takes one host in each URL");
    }
    if urls.iter().any(|url| settings.primary.hosts().any(|host| *host == url.host)) {
        let message = "names the primary, which a lane is there to spare; what may run there at once is for a rule to say: \
                       limit = { concurrency = 4 }";
        reader.refuse_named("lanes", name, "servers", message);
    }
    for (keyword, path) in urls.iter().flat_map(|url| url.ssl.files()).filter(|(_, path)| !path.exists()) {
        let message = format!("has an {keyword} that names no file that exists: {}", path.display());
        reader.refuse_named("lanes", name, "servers", &message);
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
