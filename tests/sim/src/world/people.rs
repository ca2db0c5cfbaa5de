//! Clients on their ways: in, out, onto the stage and back.

use std::time::Duration;

use amphi_focus::{ConferenceAnswer, RequestError};
use amphi_room::{ConnId, Session};
use amphi_stanza::{FullJid, Stanza};
use rand::Rng;
use serde_json::json;

use super::{Act, Owner, Said, World};
use crate::client::{State, Want};
use crate::config::ROOM;

impl World {
    pub(super) fn come(&mut self, i: usize) {
        let c = &mut self.clients[i];
        if !c.wants {
            c.wants = true;
            c.prefers_audience = false;
            self.start(i, 0, false);
        }
    }

    /// Begins anew, after some milliseconds.
    fn start(&mut self, i: usize, ms: u64, visitor: bool) {
        self.end_connection(i);
        self.clients[i].forget();
        let attempt = self.clients[i].attempt;
        let at = self.soon(ms, ms + 500);
        self.plan(at, Act::Ask { client: i, attempt, visitor });
    }

    /// Closes the connection properly.
    fn end_connection(&mut self, i: usize) {
        if let Some(c) = self.clients[i].conn.take() {
            if matches!(self.clients[i].state, State::Joined | State::Joining) {
                let bye = self.clients[i].goodbye();
                self.send(c, Some(bye));
            }
            self.send(c, None);
        }
    }

    pub(super) fn try_again(&mut self, i: usize, attempt: u64, ms: u64, visitor: bool, why: &str) {
        if self.clients[i].attempt != attempt {
            return;
        }
        self.tell(|| format!("c{i} again: {why}"));
        self.start(i, ms, visitor);
    }

    pub(super) fn go(&mut self, i: usize) {
        self.clients[i].wants = false;
        self.end_connection(i);
        self.clients[i].forget();
    }

    pub(super) fn ask(&mut self, i: usize, attempt: u64, visitor: bool) {
        let c = &mut self.clients[i];
        if c.attempt != attempt || !c.wants {
            return;
        }
        c.state = State::Asking;
        let visitor = visitor || c.prefers_audience;
        let at = self.soon(5, 80);
        self.plan(at, Act::Request { client: i, attempt, visitor });
    }

    pub(super) fn unanswered(&mut self, id: u64) {
        if let Some((i, _)) = self.requests.get(&id) {
            self.stuck.push(format!("c{i}: no answer of the focus at {:?}", self.elapsed));
        }
    }

    pub(super) fn answered(&mut self, i: usize, attempt: u64, answer: Result<ConferenceAnswer, RequestError>) {
        let c = &mut self.clients[i];
        if c.attempt != attempt {
            return;
        }
        match answer {
            Err(e) => self.try_again(i, attempt, 2000, false, &e.to_string()),
            Ok(a) if !a.ready => {
                let visitor = c.prefers_audience;
                let at = self.soon(1000, 3000);
                self.plan(at, Act::Ask { client: i, attempt, visitor });
            }
            Ok(a) => {
                let node = a.vnode.map_or(0, |v| v.trim_start_matches('v').parse().expect("a number"));
                c.state = State::Connecting;
                let at = self.soon(20, 300);
                self.plan(at, Act::Bind { client: i, attempt, node, name: None });
            }
        }
    }

    /// A random name as hosts give out.
    fn local_part(&mut self) -> String {
        format!("{:08x}-{:04x}", self.rng.random::<u32>(), self.rng.random::<u16>())
    }

    pub(super) fn bind_client(&mut self, i: usize, attempt: u64, node: usize, name: Option<String>) {
        if self.clients[i].attempt != attempt {
            return;
        }
        if !self.nodes[node].up {
            return self.try_again(i, attempt, 2000, false, "the node is away");
        }
        let now = self.now();
        let promised = name.filter(|n| self.nodes[node].redeem(now, n));
        let is_promised = promised.is_some();
        let local = match promised {
            Some(n) => n,
            None => self.local_part(),
        };
        let host = self.nodes[node].cfg.host.clone();
        let jid = FullJid::parse(&format!("{local}@{host}/r{attempt}")).expect("an address");
        let conn = self.new_conn(Owner::Client(i), node);
        let session = Session {
            conn,
            jid,
            room: Some(ROOM.into()),
            tenant: None,
            region: None,
            claims: None,
            admin: false,
            anonymous: true,
        };
        assert_eq!(self.nodes[node].bind(session), None, "a name was given twice");
        let c = &mut self.clients[i];
        c.promoted |= is_promised;
        c.conn = Some(conn);
        c.node = node;
        c.nick = local[..8].to_owned();
        c.state = State::Joining;
        let join = c.presence(true);
        self.send(conn, Some(join));
        self.plan(self.elapsed + Duration::from_secs(90), Act::NotJoined { client: i, attempt });
    }

    pub(super) fn not_joined(&mut self, i: usize, attempt: u64) {
        if self.clients[i].attempt == attempt && self.clients[i].state == State::Joining {
            self.stuck.push(format!("c{i}: no answer to its join on {} at {:?}", self.clients[i].node, self.elapsed));
            self.try_again(i, attempt, 1000, false, "no answer to the join");
        }
    }

    pub(super) fn client_receives(&mut self, i: usize, conn: ConnId, s: &Stanza) {
        if self.clients[i].conn != Some(conn) {
            return;
        }
        let step = self.steps;
        let Some(want) = self.clients[i].receive(step, s) else { return };
        let attempt = self.clients[i].attempt;
        match want {
            Want::Again { ms, visitor, why } => self.try_again(i, attempt, ms, visitor, &why),
            Want::Stage(name) => {
                self.end_connection(i);
                let c = &mut self.clients[i];
                c.forget();
                (c.hand, c.state) = (false, State::Connecting);
                let attempt = c.attempt;
                let at = self.soon(50, 500);
                self.plan(at, Act::Bind { client: i, attempt, node: 0, name: Some(name) });
            }
            Want::Audience => {
                self.clients[i].prefers_audience = true;
                self.try_again(i, attempt, 100, true, "demoted");
            }
            Want::LowerHand { refused } => {
                assert!(!self.nodes[0].promised.contains(&refused), "a refusal promised {refused}");
                self.hand(i, false);
            }
        }
    }

    // ---- what people do ------------------------------------------------------------------------------------------

    /// The connection of somebody who is in the room.
    fn inside(&self, i: usize) -> Option<ConnId> {
        self.clients[i].conn.filter(|_| self.clients[i].is_in())
    }

    pub(super) fn say(&mut self, i: usize) {
        let Some(c) = self.inside(i) else { return };
        let (id, s) = self.clients[i].chat();
        let (attempt, at, step) = (self.clients[i].attempt, self.elapsed, self.steps);
        self.said.push(Said { id, client: i, attempt, at, step });
        self.send(c, Some(s));
    }

    pub(super) fn change(&mut self, i: usize) {
        self.clients[i].version += 1;
        self.show(i);
    }

    pub(super) fn hand(&mut self, i: usize, up: bool) {
        if self.clients[i].is_in() && (self.clients[i].node > 0 || !up) {
            self.clients[i].version += 1;
            self.clients[i].hand = up;
            self.show(i);
        }
    }

    fn show(&mut self, i: usize) {
        if let Some(c) = self.inside(i) {
            let p = self.clients[i].presence(false);
            self.send(c, Some(p));
        }
    }

    fn moderator(&self) -> Option<usize> {
        (0..self.clients.len()).find(|i| {
            let c = &self.clients[*i];
            c.is_in() && c.node == 0 && c.moderator
        })
    }

    pub(super) fn decide(&mut self, yes: bool) {
        let Some(m) = self.moderator() else { return };
        let (Some(c), Some(id)) = (self.inside(m), self.clients[m].hands.first().cloned()) else { return };
        let answer = json!({ "type": "visitors", "action": "promotion-response", "approved": yes, "id": id });
        let s = self.clients[m].json(&answer);
        self.send(c, Some(s));
    }

    pub(super) fn demote(&mut self, n: usize) {
        let Some(m) = self.moderator() else { return };
        let others: Vec<&String> = self.clients[m].view.keys().filter(|k| *k != "focus").collect();
        let (Some(c), Some(id)) = (self.inside(m), others.get(n % others.len().max(1))) else { return };
        let me = &self.clients[m].nick;
        let order = json!({ "type": "visitors", "action": "demote-request", "id": id, "actor": me });
        let s = self.clients[m].json(&order);
        self.send(c, Some(s));
    }

    /// Goes to the main node without asking, under a name that is worth nothing.
    pub(super) fn push(&mut self, i: usize) {
        if !self.clients[i].wants {
            return;
        }
        self.end_connection(i);
        let c = &mut self.clients[i];
        c.forget();
        c.state = State::Connecting;
        let (attempt, name) = (c.attempt, c.worthless.last().cloned());
        let at = self.soon(20, 300);
        self.plan(at, Act::Bind { client: i, attempt, node: 0, name });
    }

    // ---- broken connections ----------------------------------------------------------------------------------------

    pub(super) fn drop_client(&mut self, i: usize, pause: Duration) {
        let Some(c) = self.clients[i].conn else { return };
        let Some(x) = self.conns.get_mut(&c).filter(|x| !x.up.is_closed()) else { return };
        x.up.close();
        x.down.close();
        // The later of the two finds nothing.
        if pause < self.o.hibernation {
            self.plan(self.elapsed + pause, Act::Resume(c));
        } else {
            let attempt = self.clients[i].attempt;
            self.plan(self.elapsed + self.o.hibernation, Act::Expire(c));
            self.plan(self.elapsed + pause, Act::Lost { client: i, attempt });
        }
    }

    pub(super) fn resume(&mut self, c: ConnId) {
        let due = self.soon(1, 60);
        if let Some(x) = self.conns.get_mut(&c) {
            x.up.open(due);
            x.down.open(due);
        }
    }

    /// A node does not wait any longer for a broken connection.
    pub(super) fn expire(&mut self, c: ConnId) {
        if let Some(x) = self.conns.get(&c).filter(|x| x.up.is_closed()) {
            let node = x.node;
            self.node_gone(node, c);
        }
    }

    /// A client finds that its session is gone.
    pub(super) fn lost(&mut self, i: usize, attempt: u64) {
        if self.clients[i].attempt == attempt {
            self.clients[i].conn = None;
            self.try_again(i, attempt, 1000, false, "session lost");
        }
    }

    /// Somebody who looks at the room on a node; on the main node an administrator.
    pub(crate) fn probe(&mut self, node: usize) {
        let i = self.probes.len();
        let mut p = crate::client::Client::new(900 + i);
        (p.node, p.nick, p.state) = (node, format!("probe{node}aa"), State::Joining);
        let conn = self.new_conn(Owner::Probe(i), node);
        p.conn = Some(conn);
        let host = self.nodes[node].cfg.host.clone();
        let session = Session {
            conn,
            jid: FullJid::parse(&format!("probe{node}aa@{host}/p{i}")).expect("an address"),
            room: Some(ROOM.into()),
            tenant: None,
            region: None,
            claims: None,
            admin: node == 0,
            anonymous: true,
        };
        self.nodes[node].bind(session);
        let join = p.presence(true);
        self.probes.push(p);
        self.send(conn, Some(join));
    }
}
