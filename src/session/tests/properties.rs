//! Any script, cut anywhere, over whichever servers: the client hears what it would hear from one of its own.

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Model;
use super::pump::*;
use crate::wire::frame;

impl Client {
    /// ReadyForQuery messages the client has in full.
    pub(super) fn whole_answers(&self) -> usize {
        let (mut out, mut answers) = (&self.out[..], 0);
        while let Ok(Some(h)) = frame::peek(out, frame::server_limit) {
            let Some(rest) = out.get(h.total..) else { break };
            answers += usize::from(h.tag == b'Z');
            out = rest;
        }
        answers
    }
}

/// One message; numbers choose among a few names and texts, so that they meet.
#[derive(Clone, Copy, Debug)]
enum Say {
    Query(u8),
    Parse(u8, u8),
    Bind(u8, u8),
    DescribeStatement(u8),
    DescribePortal(u8),
    Execute(u8, u8),
    CloseStatement(u8),
    ClosePortal(u8),
    Flush,
    /// A COPY and all that belongs to it: data, and how it ends.
    CopySimple(u8),
    CopyExtended(u8),
    /// CopyData and CopyDone where there is no COPY.
    Stray,
}

fn say() -> impl Strategy<Value = Say> {
    let n = 0u8..29;
    prop_oneof![
        3 => n.clone().prop_map(Say::Query),
        5 => (0u8..4, n.clone()).prop_map(|(name, text)| Say::Parse(name, text)),
        5 => (0u8..2, 0u8..4).prop_map(|(portal, name)| Say::Bind(portal, name)),
        1 => (0u8..4).prop_map(Say::DescribeStatement),
        1 => (0u8..2).prop_map(Say::DescribePortal),
        5 => (0u8..2, 0u8..3).prop_map(|(portal, limit)| Say::Execute(portal, limit)),
        1 => (0u8..4).prop_map(Say::CloseStatement),
        1 => (0u8..2).prop_map(Say::ClosePortal),
        1 => Just(Say::Flush),
        1 => (0u8..6).prop_map(Say::CopySimple),
        1 => (0u8..6).prop_map(Say::CopyExtended),
        1 => Just(Say::Stray),
    ]
}

/// Batches: each ends with Sync, and the client waits for its answer or not.
type Script = Vec<(Vec<Say>, bool)>;

fn script() -> impl Strategy<Value = Script> {
    vec((vec(say(), 0..7), any::<bool>()), 1..10)
}

/// Texts carry the client's number: whoever runs another's shows it.
fn text(n: u8, client: usize) -> String {
    match n {
        0 | 1 => "begin".into(),
        2 => "commit".into(),
        3 => "rollback".into(),
        4 => "fail".into(),
        5 => format!("select fail {client}"),
        6 => format!("set a = {client}"),
        7 => String::new(),
        8 => "select 3 from rows".into(),
        9 => "discard all".into(),
        10 => "deallocate all".into(),
        11 => "select current_setting('a')".into(),
        12 => "create temp table t ()".into(),
        13 => "drop table if exists t".into(),
        14 => "table t".into(),
        15 => "reset all".into(),
        16 => "reset a".into(),
        24 => format!("prepare a as select sql{client}"),
        25 => format!("prepare s as select sql{client}"),
        26 => "execute s".into(),
        27 => "deallocate s".into(),
        28 => "execute a".into(),
        n => format!("select {} c{client}", n % 4),
    }
}

/// What a client must not use again before it has heard how it went: a name is the client's from when its Parse
/// is sent, so a batch that relies on the failure of the one before is not foreseen.
#[derive(Default)]
struct Pending {
    names: [bool; 4],
    all: bool,
    own: usize,
}
impl Pending {
    /// A name that nothing else uses.
    fn own_name(&mut self) -> String {
        self.own += 1;
        format!("own{}", self.own)
    }
}

fn copy(start: &[u8], how: u8, out: &mut Vec<u8>) {
    let data = message(b'd', if how == 1 { b"bad" } else { b"good" });
    out.extend_from_slice(start);
    (0..how % 3).for_each(|_| out.extend_from_slice(&data));
    out.extend(if how == 2 { message(b'f', b"no\0") } else { message(b'c', b"") });
}

fn batch(says: &[Say], client: usize, pending: &mut Pending) -> Vec<u8> {
    const NAMES: [&str; 4] = ["", "a", "b", "s"];
    const PORTALS: [&str; 2] = ["", "p"];
    let before = std::mem::take(&mut pending.names);
    let mut touched = before;
    let mut out = Vec::new();
    let all = pending.all;
    let usable = |name: u8| !before[usize::from(name)] && !all;
    let mut deallocates = false;
    for &say in says {
        if deallocates {
            break;
        }
        match say {
            // What they find depends on all that went before.
            Say::Query(24..=28) | Say::Parse(_, 24..=28)
                if all || !out.is_empty() || before != [false; 4] => {}
            Say::Query(n) => {
                deallocates = matches!(n, 9..=10 | 24..=28);
                touched[0] = true;
                out.extend(q(&text(n, client)));
            }
            Say::Parse(_, n @ (9..=10 | 24..=28)) => {
                deallocates = true;
                let name = pending.own_name();
                out.extend([p(&name, &text(n, client)), b(&name, &name), e(&name, 0)].concat());
            }
            Say::Parse(name, n) if usable(name) => {
                touched[usize::from(name)] = true;
                out.extend(p(NAMES[usize::from(name)], &text(n, client)));
            }
            Say::Bind(portal, name) if usable(name) => {
                out.extend(b(PORTALS[usize::from(portal)], NAMES[usize::from(name)]));
            }
            Say::DescribeStatement(name) if usable(name) => {
                out.extend(about(b'D', b'S', NAMES[usize::from(name)]));
            }
            Say::CloseStatement(name) if usable(name) => {
                touched[usize::from(name)] = true;
                out.extend(about(b'C', b'S', NAMES[usize::from(name)]));
            }
            Say::DescribePortal(portal) => out.extend(about(b'D', b'P', PORTALS[usize::from(portal)])),
            Say::ClosePortal(portal) => out.extend(about(b'C', b'P', PORTALS[usize::from(portal)])),
            Say::Execute(portal, limit) => out.extend(e(PORTALS[usize::from(portal)], u32::from(limit))),
            Say::Flush => out.extend(message(b'H', b"")),
            Say::CopySimple(how) => {
                touched[0] = true;
                copy(&q("copy t from stdin"), how, &mut out);
            }
            Say::CopyExtended(how) => {
                let name = pending.own_name();
                let early = if how > 3 && out.is_empty() { sync() } else { Vec::new() };
                copy(
                    &[p(&name, "copy t from stdin"), b(&name, &name), e(&name, 0), early].concat(),
                    how,
                    &mut out,
                );
            }
            Say::Stray => out.extend([message(b'd', b"x"), message(b'c', b"")].concat()),
            _ => {}
        }
    }
    pending.names = touched;
    pending.all |= deallocates;
    out.extend(sync());
    out
}

/// A batch, and how many ReadyForQuery there are once it is answered: `None`: the client doesn't wait.
struct Part {
    bytes: Vec<u8>,
    wait: Option<usize>,
}

fn ready_count(out: &[u8]) -> usize {
    words(out).iter().filter(|w| w.starts_with("Z:")).count()
}

/// The script as bytes, and what a server of its own says to it.
fn direct(script: &Script, client: usize) -> (Vec<Part>, Vec<String>) {
    let mut model = Model::new();
    let mut pending = Pending::default();
    let mut parts = Vec::new();
    for (says, waits) in script {
        let bytes = batch(says, client, &mut pending);
        model.feed(&bytes);
        if *waits {
            pending = Pending { own: pending.own, ..Pending::default() };
        }
        parts.push(Part { bytes, wait: waits.then(|| ready_count(&model.out)) });
    }
    (parts, words(&model.out))
}

struct Dice(u64);
impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Plays the clients' parts in any order until all have been answered.
fn play(w: &mut World, parts: &mut [std::collections::VecDeque<Part>], dice: &mut Dice) {
    let mut waits: Vec<usize> = vec![0; parts.len()];
    let mut left: Vec<bool> = vec![false; parts.len()];
    let mut still = 0;
    while still < 400 {
        w.choice = dice.roll(4);
        let c = dice.roll(parts.len());
        let size = [1, 3, 6, 17, 60, 4000][dice.roll(6)];
        let mut moved = false;
        match dice.roll(3) {
            0 => {
                let heard = w.clients[c].whole_answers();
                if heard >= waits[c] {
                    if let Some(part) = parts[c].pop_front() {
                        w.say(c, &part.bytes);
                        waits[c] = part.wait.unwrap_or(0);
                        moved = true;
                    } else if !left[c] && w.has_said_all(c) {
                        w.leave(c);
                        left[c] = true;
                        moved = true;
                    }
                }
            }
            1 => moved = w.client_turn(c, size),
            _ => moved = w.server_turn(c, size),
        }
        still = if moved { 0 } else { still + 1 };
        for client in &w.clients {
            if let Some(s) = client.server {
                let owed = w.servers[s].backend.owed();
                assert!(owed <= 4 * 400, "{owed}");
            }
        }
    }
    assert!(left.iter().all(|left| *left), "stuck");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Also: no client ever sees what is another's, since every text shows whose it is; and nothing stays behind.
    #[test]
    fn nobody_notices(
        scripts in vec(script(), 1..3),
        servers in 1usize..3,
        max_prepared in 1usize..4,
        seed: u64,
    ) {
        let mut w = World::new("", scripts.len(), servers, max_prepared);
        let mut parts = Vec::new();
        let mut expected = Vec::new();
        for (c, script) in scripts.iter().enumerate() {
            let (script, heard) = direct(script, c);
            parts.push(script.into());
            expected.push(heard);
        }
        play(&mut w, &mut parts, &mut Dice(seed));
        for (client, expected) in w.clients.iter().zip(&expected) {
            prop_assert_eq!(&words(&client.out), expected);
            prop_assert!(client.fatal.is_none() && client.desync.is_none());
        }
        w.assert_quiet();
        for server in &w.servers {
            // What is restored may be too many: the next Parse closes those. Nothing is left that nobody knows of.
            prop_assert!(server.model.statements.len() <= server.backend.prepared.len());
            prop_assert!(server.model.sql.len() <= server.backend.sql.len());
        }
    }

    /// Nothing that a client sends, in whatever state, can panic or be kept without end.
    #[test]
    fn no_client_breaks_it(
        said in vec(prop_oneof![
            vec(any::<u8>(), 0..30),
            (proptest::sample::select(&b"QPBEDCSHFXdcf"[..]), vec(any::<u8>(), 0..12)).prop_map(|(t, b)| message(t, &b)),
            say().prop_map(|say| batch(&[say], 0, &mut Pending::default())),
        ], 0..20),
        seed: u64,
    ) {
        let mut dice = Dice(seed);
        let mut session = World::new("", 1, 1, 2);
        let bytes = said.concat();
        session.replicas = dice.roll(2) == 0;
        let mut at = 0;
        while at < bytes.len() {
            let n = (1 + dice.roll(40)).min(bytes.len() - at);
            session.say_unchecked(0, &bytes[at..at + n]);
            at += n;
            if let Some(backend) = session.backend_of(0) {
                prop_assert!(backend.owed() <= 4 * bytes.len());
            }
        }
    }

    /// Nor anything that a server sends.
    #[test]
    fn no_server_breaks_it(
        script in script(),
        said in vec(prop_oneof![
            vec(any::<u8>(), 0..30),
            (proptest::sample::select(&b"123CDEIGHNSTZWAnst"[..]), vec(any::<u8>(), 0..12)).prop_map(|(t, b)| message(t, &b)),
            Just(message(b'Z', b"I")),
        ], 0..30),
        seed: u64,
    ) {
        let mut dice = Dice(seed);
        let mut w = World::new("", 1, 1, 2);
        let (parts, _) = direct(&script, 0);
        let mut said = said.into_iter();
        for part in parts {
            w.say_unchecked(0, &part.bytes);
            for bytes in said.by_ref().take(dice.roll(5)) {
                if let Some(backend) = w.backend_of(0) {
                    let before = backend.owed();
                    w.server_says(0, &bytes);
                    // At most a question of ours is added.
                    prop_assert!(w.backend_of(0).is_none_or(|b| b.owed() <= before + 1));
                }
            }
        }
    }
}
