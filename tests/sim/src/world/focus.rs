//! The focus, its connections to the nodes, and the requests that it answers.

use std::time::Duration;

use amphi_focus::{ConferenceRequest, Focus, Input, NodeId, Output};
use amphi_room::{ConnId, Session};
use amphi_stanza::{FullJid, Stanza};

use super::{Act, Owner, World};
use crate::client::room_on;
use crate::schedule::Loss;

impl World {
    pub(super) fn node_id(node: usize) -> NodeId {
        if node == 0 { NodeId::Main } else { NodeId::vnode(&format!("v{node}")) }
    }

    fn node_of(id: &NodeId) -> usize {
        match id {
            NodeId::Main => 0,
            NodeId::Vnode(v) => v.trim_start_matches('v').parse().expect("a number"),
            NodeId::Service => unreachable!("bridges would be on the main node"),
        }
    }

    /// Feeds the focus and carries out what it wants.
    pub(crate) fn focus_input(&mut self, input: Input) {
        let now = self.instant();
        let Some(f) = &mut self.focus else { return };
        f.handle(now, input);
        while let Some(o) = self.focus.as_mut().and_then(Focus::poll_output) {
            match o {
                Output::Send { node, stanza } => {
                    let (node, stanza) = (Self::node_of(&node), Stanza::authored(stanza));
                    match self.focus_conns[node] {
                        Some(c) => self.send(c, Some(stanza)),
                        None => self.focus_held[node].push(stanza),
                    }
                }
                Output::Answer { id, result } => {
                    let asked = self.requests.remove(&id);
                    let (client, attempt) = asked.unwrap_or_else(|| panic!("request {id} was answered twice"));
                    let at = self.soon(5, 80);
                    self.plan(at, Act::Answered { client, attempt, answer: result });
                }
                // What the queue service tells those who are not in yet.
                Output::Meeting { .. } | Output::Visitors { .. } | Output::Visitor(_) | Output::Moved { .. } => {}
                Output::Event(e) => self.tell(|| format!("focus: {e:?}")),
            }
        }
    }

    pub(super) fn focus_up(&mut self) {
        self.focus_life += 1;
        self.focus = Some(Focus::new(self.o.focus(), self.o.seed ^ self.focus_life));
        for node in 0..self.nodes.len() {
            let (at, life) = (self.soon(1, 200), self.focus_life);
            self.plan(at, Act::FocusConnect { node, life, resume: None });
        }
    }

    /// The focus is connected to a node again, if the node is there.
    pub(super) fn focus_connect(&mut self, node: usize, life: u64, resume: Option<ConnId>) {
        if life != self.focus_life || self.focus.is_none() || self.focus_conns[node].is_some() {
            return;
        }
        if !self.nodes[node].up {
            let at = self.soon(1900, 2100);
            return self.plan(at, Act::FocusConnect { node, life, resume: None });
        }
        let domain = if node == 0 { "auth.meet.example" } else { "auth.meet.jitsi" };
        let jid = FullJid::parse(&format!("focus@{domain}/focus")).expect("an address");
        let held = std::mem::take(&mut self.focus_held[node]);
        let kept = resume.filter(|c| self.nodes[node].by_conn.contains_key(c) && self.conns.contains_key(c));
        if let Some(c) = kept {
            let due = self.soon(1, 30);
            let x = self.conns.get_mut(&c).expect("just looked");
            x.up.open(due);
            x.down.open(due);
            self.focus_conns[node] = Some(c);
            // The IO layer may have kept what was sent in between, or not.
            if self.o.keeps {
                held.into_iter().for_each(|s| self.send(c, Some(s)));
            }
            return self.focus_input(Input::Connected { node: Self::node_id(node), jid, resumed: true });
        }
        let c = self.new_conn(Owner::Focus, node);
        let session = Session {
            conn: c,
            jid: jid.clone(),
            room: None,
            tenant: None,
            region: None,
            claims: None,
            admin: true,
            anonymous: false,
        };
        if let Some(old) = self.nodes[node].bind(session) {
            // The older connection is told to go, and is gone a little later.
            let (at, life) = (self.soon(0, 20), self.nodes[node].life);
            self.plan(at, Act::Gone { node, life, conn: old });
        }
        self.focus_conns[node] = Some(c);
        self.focus_input(Input::Connected { node: Self::node_id(node), jid, resumed: false });
    }

    /// The focus' connection to a node is over.
    pub(super) fn focus_lost(&mut self, node: usize) {
        if self.focus_conns[node].take().is_none() {
            return;
        }
        self.focus_input(Input::Disconnected { node: Self::node_id(node) });
        let (at, life) = (self.soon(900, 2100), self.focus_life);
        self.plan(at, Act::FocusConnect { node, life, resume: None });
    }

    pub(super) fn cut_focus(&mut self, node: usize, loss: Loss, pause: Duration) {
        let Some(c) = self.focus_conns[node].take() else { return };
        let Some(x) = self.conns.get_mut(&c) else { return };
        x.up.close();
        x.down.close();
        let life = self.focus_life;
        let resume = (loss == Loss::Nothing).then_some(c);
        self.plan(self.elapsed + self.o.hibernation, Act::Expire(c));
        self.plan(self.elapsed + pause, Act::FocusConnect { node, life, resume });
        self.focus_input(Input::Disconnected { node: Self::node_id(node) });
    }

    pub(super) fn restart_focus(&mut self, pause: Duration) {
        if self.focus.take().is_none() {
            return;
        }
        for node in 0..self.nodes.len() {
            let Some(c) = self.focus_conns[node].take() else { continue };
            if let Some(x) = self.conns.get_mut(&c) {
                x.up.close();
                x.down.close();
            }
            self.plan(self.elapsed + self.o.hibernation, Act::Expire(c));
        }
        let asked: Vec<(usize, u64)> = std::mem::take(&mut self.requests).into_values().collect();
        for (client, attempt) in asked {
            self.try_again(client, attempt, 1000, false, "the focus is away");
        }
        self.plan(self.elapsed + pause, Act::FocusUp);
    }

    /// A conference request reaches the focus.
    pub(super) fn request(&mut self, client: usize, attempt: u64, visitor: bool) {
        if self.clients[client].attempt != attempt {
            return;
        }
        if self.focus.is_none() {
            return self.try_again(client, attempt, 2000, visitor, "no focus");
        }
        let body = serde_json::json!({
            "room": room_on(0),
            "machineUid": self.clients[client].machine(),
            "properties": if visitor {
                serde_json::json!({ "visitors-version": 1, "visitor": true })
            } else {
                serde_json::json!({ "visitors-version": 1 })
            },
        });
        let request = ConferenceRequest::from_json(body.to_string().as_bytes(), None).expect("a good request");
        self.next_request += 1;
        let id = self.next_request;
        self.requests.insert(id, (client, attempt));
        self.plan(self.elapsed + Duration::from_secs(60), Act::Unanswered(id));
        self.focus_input(Input::ConferenceRequest { id, request, peer: None });
    }
}
