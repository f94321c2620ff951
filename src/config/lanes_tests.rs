#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Loaded, load_text};
use crate::document::Source;

fn load(text: &str) -> Loaded {
    let text = format!("primary = 'postgres://u@p/d'\n{text}");
    load_text(&Source::new("c.toml", text), Path::new(""), &[])
}

fn problems(text: &str) -> Vec<String> {
    load(text).problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_lane_has_what_it_says_and_else_what_holds_elsewhere() {
    let loaded = load(
        "replicas = ['postgres://u@r/d']\n[replica]\nmax_lag = '2s'\n[pool]\npool_size = 7\n\
         [lanes.export]\nservers = ['postgres://u@r/d']\n\
         [lanes.analytics]\nservers = ['postgres://u:geheim@a/d', 'postgres://u@b/d']\npool_size = 3\nmax_lag = '30s'\n\
         fallback = 'replica'\n",
    );
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let settings = loaded.settings;
    let labels: Vec<(String, Lane)> =
        settings.lane_servers().map(|server| (server.label, server.of)).collect();
    let expected = [("analytics1", 0), ("analytics2", 0), ("export1", 1)];
    assert_eq!(labels, expected.map(|(label, at)| (label.to_owned(), Lane::Named(at))));
    let [analytics, export] = ["analytics", "export"].map(|name| &settings.lanes[name]);
    assert_eq!((analytics.pool_size(&settings), export.pool_size(&settings)), (3, 7));
    assert_eq!(analytics.max_lag(&settings), Duration::from_secs(30));
    assert_eq!(export.max_lag(&settings), Duration::from_secs(2));
    assert_eq!((analytics.fallback(), export.fallback()), (Fallback::Replica, Fallback::None));
    assert_eq!(settings.known_lanes(), Lanes::new(["analytics", "export"]));
    let shown: Vec<&str> = loaded.shown.iter().map(|shown| &*shown.value).collect();
    assert!(!shown.iter().any(|value| value.contains("geheim")));
}

#[test]
fn what_cannot_be_a_lane_is_told_at_its_place() {
    let server = "servers = ['postgres://u@a/d']\n";
    for (text, expected) in [
        ("[lanes.a]\npool_size = 3\n", "c.toml:2:8: the lane `a` has no `servers` (add `servers = ["),
        ("[lanes.a]\nservers = []\n", "c.toml:3:11: `servers` must name at least one server"),
        ("[lanes.a]\nservers = ['x y']\n", "c.toml:3:12: `servers` is no server URL"),
        ("[lanes.a]\nservers = ['postgres://u@p/d']\n", "c.toml:3:11: `servers` names the primary, which"),
        (
            "[lanes.a]\nservers = ['postgres://u@a,b/d']\n",
            "c.toml:3:11: `servers` takes one host in each URL",
        ),
        (
            &format!("[lanes.replica]\n{server}"),
            "c.toml:2:8: `replica` is the name of a lane that is always there",
        ),
        (
            &format!("[lanes.primary]\n{server}"),
            "c.toml:2:8: `primary` is the name of a lane that is always there",
        ),
        (&format!("[lanes.'a b']\n{server}"), "c.toml:2:8: `a b` cannot be a lane's name"),
        (
            &format!("[lanes.a]\n{server}fallback = 'replica'"),
            "c.toml:4:12: `fallback` leads nowhere: there are no `replicas`",
        ),
        (
            &format!("[lanes.a]\n{server}fallback = 'primry'"),
            "c.toml:4:12: `fallback` must be one of none replica primary; did you mean `primary`?",
        ),
        (&format!("[lanes.a]\n{server}pool_size = 0"), "c.toml:4:13: `pool_size` must be from 1 to 100000"),
        (&format!("[lanes.a]\n{server}poolsize = 1"), "c.toml:4:1: unknown setting `poolsize`"),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\n{found:?}");
    }
}

#[test]
fn no_two_servers_have_one_label() {
    let many = ["'postgres://u@a/d'"; 11].join(", ");
    let text = format!("[lanes.a]\nservers = [{many}]\n[lanes.a1]\nservers = ['postgres://u@a/d']\n");
    let found = problems(&text);
    assert!(found.len() == 1 && found[0].contains("would be called `a11` as another is"), "{found:?}");
}
