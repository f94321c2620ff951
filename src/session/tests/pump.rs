//! Clients, sessions, backends and model servers, wired up as the proxy does it, cut into pieces at will.

use super::books::Books;
use super::model::Model;
use crate::document::Source;
use crate::guard::policy::Policies;
use crate::guard::{Class, Effects, Guard, GuardLimits, Judgement, Lane, Lanes};
use crate::session::{
    Backend, Desync, Env, Fatal, Interner, Mode, Outlet, ParamSet, PlanTerms, Session, Step, Who,
};
use crate::wire::frame::{self, HEADER};
use crate::wire::{backend as view, frontend};
use std::sync::Arc;

pub(super) fn q(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_query(&mut out, text.as_bytes());
    out
}
pub(super) fn p(name: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_parse(&mut out, name.as_bytes(), &[text.as_bytes(), &[0, 0, 0]].concat());
    out
}
pub(super) fn b(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', &[portal.as_bytes(), b"\0", statement.as_bytes(), &[0, 0, 0, 0, 0, 0, 0]].concat())
}
pub(super) fn b_value(statement: &str, value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let values = [&[0, 0, 0, 1][..], &length, value.as_bytes(), &[0, 0]].concat();
    message(b'B', &[b"\0", statement.as_bytes(), b"\0", &values].concat())
}
/// Describe or Close (`tag`) of a statement (`S`) or portal (`P`).
pub(super) fn about(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    message(tag, &[&[kind], name.as_bytes(), b"\0"].concat())
}
pub(super) fn e(portal: &str, limit: u32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &limit.to_be_bytes()].concat())
}
pub(super) fn sync() -> Vec<u8> {
    message(b'S', b"")
}
pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::reply::message(&mut out, tag, |o| o.extend_from_slice(body));
    out
}
/// Parse, Bind, Execute, Sync of the unnamed statement.
pub(super) fn run(text: &str) -> Vec<u8> {
    [p("", text), b("", ""), e("", 0), sync()].concat()
}

/// Frames as short words: `1 2 C:SELECT 1 E:42601 Z:I …`; rows show their value.
pub(super) fn words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while !bytes.is_empty() {
        let h = frame::peek(bytes, frame::server_limit).unwrap().expect("a whole header");
        let body = bytes.get(HEADER..h.total).expect("a whole frame");
        let text = |b: &[u8]| String::from_utf8_lossy(b).trim_end_matches('\0').to_owned();
        words.push(match h.tag {
            b'E' | b'N' => format!("{}:{}", h.tag as char, text(view::field(body, b'C').unwrap())),
            b'C' | b'Z' | b'S' => format!("{}:{}", h.tag as char, text(body)),
            b'D' => format!("D:{}", text(&body[6..])),
            tag => (tag as char).to_string(),
        });
        bytes = &bytes[h.total..];
    }
    words
}

pub(super) struct Server {
    pub(super) model: Model,
    pub(super) backend: Backend,
    carry: Vec<u8>,
    pub(super) taken: bool,
}
impl Server {
    fn new(lane: Lane, max_prepared: usize) -> Self {
        Self {
            model: Model::new(),
            backend: Backend::new(lane, max_prepared, []),
            carry: Vec::new(),
            taken: false,
        }
    }
}

pub(super) struct Client {
    pub(super) session: Session,
    todo: Vec<u8>,
    carry: Vec<u8>,
    /// The carry can go on without more bytes.
    again: bool,
    pub(super) server: Option<usize>,
    pub(super) held: bool,
    holding: bool,
    pub(super) waits: bool,
    pub(super) out: Vec<u8>,
    pub(super) bye: bool,
    pub(super) fatal: Option<Fatal>,
    pub(super) desync: Option<Desync>,
}

pub(super) struct World {
    guard: Guard,
    statements: Interner,
    pub(super) books: Books,
    pub(super) servers: Vec<Server>,
    pub(super) clients: Vec<Client>,
    pub(super) max_statement_bytes: usize,
    pub(super) replicas: bool,
    /// What is handed out when several are free: changed by the properties.
    pub(super) choice: usize,
    pub(super) max_prepared: usize,
    pub(super) plan: PlanTerms,
    /// The servers hear nothing.
    mute: bool,
    /// Cancels come in time.
    pub(super) cancels: bool,
}

impl World {
    pub(super) fn new(policies: &str, clients: usize, servers: usize, max_prepared: usize) -> Self {
        let policies = Policies::load_with(&[Source::new("t.toml", policies)], &Lanes::any()).unwrap();
        let mut world = Self {
            guard: Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4]),
            statements: Interner::new(1, [1, 2, 3, 4], 1 << 20),
            books: Books::default(),
            servers: (0..servers).map(|_| Server::new(Lane::Primary, max_prepared)).collect(),
            clients: Vec::new(),
            max_statement_bytes: 1 << 16,
            replicas: false,
            choice: 0,
            max_prepared,
            plan: PlanTerms::default(),
            mute: false,
            cancels: false,
        };
        for _ in 0..clients {
            world.add_client(Mode::Transaction, &[]);
        }
        world
    }

    pub(super) fn add_client(&mut self, mode: Mode, settings: &[(&str, &str)]) -> usize {
        let class = Arc::new(Class {
            user: "app".into(),
            database: "shop".into(),
            application: "".into(),
            standard_conforming_strings: true,
            ascii_safe_encoding: true,
        });
        let settings = Arc::new(ParamSet::new(settings.iter().copied()));
        self.clients.push(Client {
            session: Session::new(mode, class, settings),
            todo: Vec::new(),
            carry: Vec::new(),
            again: false,
            server: None,
            held: false,
            holding: false,
            waits: false,
            out: Vec::new(),
            bye: false,
            fatal: None,
            desync: None,
        });
        self.clients.len() - 1
    }

    pub(super) fn add_server(&mut self, lane: Lane) -> usize {
        self.servers.push(Server::new(lane, self.max_prepared));
        self.servers.len() - 1
    }

    pub(super) fn say(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].todo.extend_from_slice(bytes);
    }

    fn take_server(&mut self, lane: Lane) -> Option<usize> {
        let free: Vec<usize> = (0..self.servers.len())
            .filter(|&s| !self.servers[s].taken && self.servers[s].backend.lane() == lane)
            .collect();
        let server = *free.get(self.choice % free.len().max(1))?;
        self.servers[server].taken = true;
        Some(server)
    }

    fn let_go(&mut self, c: usize) {
        if let Some(server) = self.clients[c].server.take() {
            self.servers[server].taken = false;
        }
        let client = &mut self.clients[c];
        if std::mem::take(&mut client.held) | std::mem::take(&mut client.holding) {
            client.again = true;
        }
    }

    /// The client sends up to `n` bytes more. True if anything happened.
    pub(super) fn client_turn(&mut self, c: usize, n: usize) -> bool {
        let client = &mut self.clients[c];
        let waited = client.server.is_some_and(|s| self.servers[s].backend.is_waited_for());
        if client.held
            || client.holding
            || client.waits
            || waited
            || client.bye
            || client.fatal.is_some()
            || client.desync.is_some()
        {
            return false;
        }
        let n = n.min(client.todo.len());
        if n == 0 && !client.again {
            return false;
        }
        client.again = false;
        client.carry.extend(client.todo.drain(..n));
        let input = std::mem::take(&mut client.carry);
        self.feed(c, &input) || n > 0
    }

    fn feed(&mut self, c: usize, input: &[u8]) -> bool {
        let mut from = 0;
        loop {
            let (mut spill, mut down) = (Vec::new(), Vec::new());
            let mut up = Outlet::new(input, &mut spill);
            let client = &mut self.clients[c];
            let mut link = client.server.map(|s| &mut self.servers[s].backend);
            if let Some(backend) = link.as_deref_mut().filter(|backend| backend.quiet()) {
                backend.align(client.session.settings(), &mut up);
            }
            let epoch = self.books.epoch;
            let mut env = Env {
                guard: &mut self.guard,
                statements: &mut self.statements,
                ledger: &mut self.books,
                max_statement_bytes: self.max_statement_bytes,
                prepared_bytes: 1 << 20,
                replicas: self.replicas,
                reuse_unnamed: true,
                refused_pins: Effects::NONE,
                may_pin: true,
                epoch,
                who: Who::default(),
                plan: self.plan,
            };
            let fed = client.session.feed(&mut env, from, link, &mut up, &mut down);
            if let Some(s) = client.server {
                if !self.mute {
                    self.servers[s].model.feed(up.bytes());
                }
            } else {
                assert!(up.bytes().is_empty(), "bytes for a server that is not there");
            }
            client.out.extend_from_slice(&down);
            let fed = match fed {
                Ok(fed) => fed,
                Err(fatal) => {
                    client.fatal = Some(fatal);
                    return true;
                }
            };
            assert!(fed.consumed >= from && fed.consumed <= input.len());
            from = fed.consumed;
            match fed.step {
                Step::More | Step::Wait | Step::Answer => client.held = fed.step == Step::Wait,
                Step::Hold => client.holding = true,
                Step::Turn => {
                    assert!(!client.session.awaited().is_empty());
                    client.waits = true;
                }
                Step::Bye => client.bye = true,
                Step::Plan => unreachable!("these books never say that another asks"),
                Step::Server(lane) => match self.take_server(lane) {
                    Some(server) => {
                        self.clients[c].server = Some(server);
                        continue;
                    }
                    None => self.clients[c].again = true,
                },
            }
            self.clients[c].carry = input[from..].to_vec();
            self.release_if_idle(c);
            return from > 0;
        }
    }

    /// The client's server delivers up to `n` bytes of what it has said.
    pub(super) fn server_turn(&mut self, c: usize, n: usize) -> bool {
        let client = &mut self.clients[c];
        let Some(s) = client.server else { return false };
        let server = &mut self.servers[s];
        let n = n.min(server.model.out.len());
        if n == 0 || client.desync.is_some() {
            return false;
        }
        server.carry.extend(server.model.out.drain(..n));
        let input = std::mem::take(&mut server.carry);
        let mut spill = Vec::new();
        let mut out = Outlet::new(&input, &mut spill);
        match server.backend.feed(&mut client.session, &mut self.books, &mut out) {
            Ok(served) => {
                server.carry = input[served.consumed..].to_vec();
                client.out.extend_from_slice(out.bytes());
                if server.backend.take_excess() && self.cancels {
                    let unheard = [std::mem::take(&mut server.carry), std::mem::take(&mut server.model.out)];
                    server.model.cancel(&unheard.concat(), server.backend.rest);
                }
                if let Some(words) = server.backend.take_words() {
                    server.model.feed(&words);
                } else if client.holding && server.backend.may_go_on() {
                    (client.holding, client.again) = (false, true);
                }
                client.again |= server.backend.take_looked();
                if served.idle {
                    self.release_if_idle(c);
                }
            }
            Err(desync) => client.desync = Some(desync),
        }
        true
    }

    fn release_if_idle(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Some(server) = client.server.map(|s| &mut self.servers[s]) else { return };
        if !server.backend.idle() {
            return;
        }
        if let Some(again) = server.backend.take_repair() {
            self.feed(c, &again);
            return;
        }
        let mut spill = Vec::new();
        let mut up = Outlet::new(&[], &mut spill);
        if client.session.settle(&mut server.backend, &mut up, &mut self.books) {
            if !self.mute {
                server.model.feed(up.bytes());
            }
        } else if server.backend.take_wait() {
            client.again = true;
        } else if client.session.releases() {
            self.let_go(c);
        } else {
            client.again |= std::mem::take(&mut client.held);
        }
    }

    /// The client leaves: a server that can be cleaned goes back, another is replaced.
    pub(super) fn leave(&mut self, c: usize) {
        self.clients[c].bye = true;
        let Some(s) = self.clients[c].server.take() else { return };
        let server = &mut self.servers[s];
        if server.backend.quiet() && server.model.out.is_empty() && server.carry.is_empty() {
            server.model.reset();
            server.backend.absorb(b'Z', b"I");
            server.backend.was_reset();
            server.taken = false;
        } else {
            *server = Server::new(server.backend.lane(), self.max_prepared);
        }
    }

    /// The client that waits has its turn.
    pub(super) fn give_turn(&mut self, c: usize) {
        let client = &mut self.clients[c];
        (client.waits, client.again) = (false, true);
    }

    pub(super) fn amend(&mut self, amend: fn(&[u8], &mut Judgement)) {
        self.guard.amend = Some(amend);
    }

    /// Nothing is left to be said or to be answered.
    pub(super) fn has_said_all(&self, c: usize) -> bool {
        let client = &self.clients[c];
        let owed = client.server.is_some_and(|s| {
            let server = &self.servers[s];
            !(server.backend.quiet() && server.model.out.is_empty())
        });
        client.todo.is_empty() && client.carry.is_empty() && !owed
    }

    pub(super) fn backend_of(&self, c: usize) -> Option<&Backend> {
        self.clients[c].server.map(|s| &self.servers[s].backend)
    }

    /// Any bytes of a client, for a server that says nothing.
    pub(super) fn say_unchecked(&mut self, c: usize, bytes: &[u8]) {
        self.mute = true;
        self.say(c, bytes);
        self.client_turn(c, usize::MAX);
    }

    /// Any bytes of its server.
    pub(super) fn server_says(&mut self, c: usize, bytes: &[u8]) {
        let Some(s) = self.clients[c].server else { return };
        self.servers[s].model.out = bytes.to_vec();
        self.server_turn(c, usize::MAX);
        self.clients[c].desync = None;
    }

    /// Until nothing moves any more.
    pub(super) fn settle(&mut self) {
        loop {
            let mut moved = false;
            for c in 0..self.clients.len() {
                moved |= self.client_turn(c, usize::MAX);
                moved |= self.server_turn(c, usize::MAX);
            }
            if !moved {
                return;
            }
        }
    }

    /// The client says this; what it hears until nothing moves.
    pub(super) fn ask(&mut self, client: usize, bytes: &[u8]) -> String {
        self.say(client, bytes);
        self.settle();
        let c = &mut self.clients[client];
        assert!(c.fatal.is_none() && c.desync.is_none(), "{:?} {:?}", c.fatal, c.desync);
        words(&std::mem::take(&mut c.out)).join(" ")
    }

    /// Everything is answered, given back, and nothing is remembered of it.
    pub(super) fn assert_quiet(&self) {
        for server in &self.servers {
            assert!(server.backend.idle(), "{:?}", server.backend);
            assert!(server.backend.queue.is_empty() && !server.taken);
        }
        for client in &self.clients {
            assert!(client.todo.is_empty() && client.carry.is_empty() && client.server.is_none());
        }
    }
}
