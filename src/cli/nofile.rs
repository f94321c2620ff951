//! The limit on open files: raised as far as it goes, and checked against what the settings may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Files of our own: listeners, event loops, control connections, cancel requests under way.
const OWN: u64 = 100;

/// Takes all that the system gives; says what is missing with all clients and server connections there.
pub(super) fn raise(settings: &Settings) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    shortage(settings, getrlimit(Resource::Nofile).current)
}

/// No `limit`: there is none.
fn shortage(settings: &Settings, limit: Option<u64>) -> Option<String> {
    let limit = limit?;
    let own = settings.databases.values().map(|d| d.reserve_pool_size);
    let own = own.chain(settings.users.values().map(|u| u.reserve_pool_size)).flatten();
    let reserve = own.chain([settings.pool.reserve_pool_size]).max().unwrap_or(0);
    let (clients, size) = (settings.pool.max_client_conn as u64, (settings.pool.pool_size + reserve) as u64);
    let servers = 1 + settings.replicas.len() as u64;
    let lanes = settings.lane_servers().map(|server| server.lane.pool_size(settings) as u64).sum::<u64>();
    let needed =
        clients.saturating_add(servers.saturating_mul(size)).saturating_add(lanes).saturating_add(OWN);
    let of_lanes = if lanes > 0 { format!(", {lanes} of lanes") } else { String::new() };
    (limit < needed).then(|| {
        format!(
            "at most {limit} files may be open, and {clients} clients (pool.max_client_conn), {servers} x {size} \
             server connections (pool.pool_size and the reserve){of_lanes} and {OWN} of our own are {needed}: raise the limit (ulimit -Hn \
             {needed}; LimitNOFILE={needed} for systemd), or lower pool.max_client_conn"
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_shortage_has_numbers_and_a_cure() {
        let text = "primary = \"postgres://p/x\"\nreplicas = [\"postgres://r/x\"]\n\
                    [pool]\nmax_client_conn = 1000\npool_size = 30";
        let source = crate::document::Source::new("", text);
        let loaded = crate::config::load_text(&source, std::path::Path::new(""), &[]);
        assert!(loaded.problems.is_empty());
        assert_eq!(shortage(&loaded.settings, Some(1160)), None);
        assert_eq!(shortage(&loaded.settings, None), None);
        let lane =
            format!("{text}\n[lanes.a]\nservers = ['postgres://a/x', 'postgres://b/x']\npool_size = 3");
        let source = crate::document::Source::new("", lane);
        let with_lane = crate::config::load_text(&source, std::path::Path::new(""), &[]);
        assert_eq!(shortage(&with_lane.settings, Some(1166)), None);
        assert!(shortage(&with_lane.settings, Some(1165)).unwrap().contains(", 6 of lanes and"));
        let said = shortage(&loaded.settings, Some(1159)).unwrap();
        for part in ["at most 1159", "1000 clients", "2 x 30", "LimitNOFILE=1160", "pool.max_client_conn"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
