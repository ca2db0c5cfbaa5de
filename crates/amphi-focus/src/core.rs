//! What all conferences share: settings, nodes, open IQs, sessions, and the way out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, FullJid, Jid, XmlWriter, ns};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::admission::Why;
use crate::auth::Auth;
use crate::ended::Ended;
use crate::iq::{IqTable, Purpose};
use crate::media::MediaCore;
use crate::media::facts::Facts;
use crate::nodes::Nodes;
use crate::{
    ConferenceAnswer, ConferenceRequest, Decision, Event, FocusConfig, Metrics, NodeId, Output, Place, RequestError,
};

/// Who gets the answer to a conference request.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    Http(u64),
    /// An IQ: its id, its `to`, its `from` (of the proxy).
    Iq {
        id: Option<String>,
        from: Option<String>,
        to: String,
    },
}

/// A conference request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) reply: ReplyTo,
    pub(crate) request: ConferenceRequest,
    pub(crate) peer: Option<IpAddr>,
    /// Room and authentication are filled in already.
    pub(crate) answer: ConferenceAnswer,
    /// Why it goes to the audience, once that is decided.
    pub(crate) why: Option<Why>,
    /// Why it may go to the stage, in words.
    pub(crate) because: &'static str,
}

/// Components of the main domain (`spec/focus.md` 1.1).
#[derive(Debug, Default)]
pub(crate) struct Components {
    pub(crate) visitors: Option<Jid>,
    pub(crate) room_metadata: Option<Jid>,
    pub(crate) av_moderation: Option<Jid>,
    pub(crate) breakout_rooms: Option<Jid>,
}

/// The connection to the main node.
#[derive(Debug, Default)]
pub(crate) struct MainLink {
    pub(crate) jid: Option<FullJid>,
    pub(crate) connected: bool,
    /// Components have been asked for, so requests can be judged.
    pub(crate) ready: bool,
    pub(crate) lost_at: Option<Instant>,
    /// When to ask for components again, while some are missing.
    pub(crate) ask_again: Option<Instant>,
    pub(crate) components: Components,
}

pub(crate) struct Core {
    pub(crate) config: FocusConfig,
    pub(crate) out: VecDeque<Output>,
    pub(crate) metrics: Metrics,
    pub(crate) iqs: IqTable,
    pub(crate) nodes: Nodes,
    pub(crate) main: MainLink,
    pub(crate) auth: Auth,
    pub(crate) media: MediaCore,
    /// Verification string of our capabilities.
    pub(crate) caps: String,
    /// Live breakout rooms of each main room.
    pub(crate) breakouts: HashMap<BareJid, u32>,
    pub(crate) ended: Ended,
    rng: StdRng,
    serial: u64,
    /// Rooms that were left while their node was not connected: a resumed stream still has us in them.
    unsaid: HashMap<NodeId, Vec<FullJid>>,
}

impl Core {
    pub(crate) fn new(config: FocusConfig, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut nodes = Nodes::default();
        for v in &config.vnodes {
            nodes.add(v, &config);
        }
        let nonce = rng.next_u32();
        Self {
            out: VecDeque::new(),
            metrics: Metrics::default(),
            iqs: IqTable::new(nonce),
            // Answers are told apart by it.
            media: MediaCore::new(&config.media, nonce ^ 1),
            nodes,
            main: MainLink::default(),
            auth: Auth::new(&config),
            caps: crate::disco::verification(),
            breakouts: HashMap::new(),
            ended: Ended::default(),
            rng,
            serial: 0,
            unsaid: HashMap::new(),
            config,
        }
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// What a presence says about media; nothing if there are none.
    pub(crate) fn facts(&mut self, presence: &amphi_stanza::Stanza) -> Arc<Facts> {
        if self.config.media.brewery.is_none() {
            return Arc::default();
        }
        Arc::new(Facts::read(presence, &mut self.media.names))
    }

    /// A random UUID (version 4).
    pub(crate) fn uuid(&mut self) -> String {
        let mut b = [0u8; 16];
        self.rng.fill_bytes(&mut b);
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        let h: String = b.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }

    pub(crate) fn send(&mut self, node: &NodeId, w: XmlWriter) {
        self.out.push_back(Output::Send { node: node.clone(), stanza: w.finish() });
    }

    pub(crate) fn is_connected(&self, node: &NodeId) -> bool {
        match node {
            NodeId::Main => self.main.connected,
            NodeId::Service => self.media.service_connected,
            NodeId::Vnode(name) => self.nodes.is_connected(name),
        }
    }

    /// Leaves a room, or notes that it is to be left when the stream is resumed.
    pub(crate) fn leave(&mut self, node: &NodeId, me: &FullJid) {
        if !self.is_connected(node) {
            self.unsaid.entry(node.clone()).or_default().push(me.clone());
            return;
        }
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("to", me).attr("type", "unavailable");
        self.send(node, w);
    }

    /// A node is connected: says what could not be said, if the stream still knows us.
    pub(crate) fn back(&mut self, node: &NodeId, resumed: bool) {
        let unsaid = self.unsaid.remove(node).unwrap_or_default();
        if resumed {
            for me in unsaid {
                self.leave(node, &me);
            }
        }
    }

    pub(crate) fn event(&mut self, e: Event) {
        self.out.push_back(Output::Event(e));
    }

    /// Sends an IQ whose answer matters.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        node: &NodeId,
        to: &Jid,
        ty: &str,
        purpose: Purpose,
        content: impl FnOnce(&mut XmlWriter),
    ) {
        let id = self.iqs.ask(now, self.config.reply_timeout, node.clone(), to.clone(), purpose);
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", ty).attr("id", id).attr("to", to);
        content(&mut w);
        self.send(node, w);
    }

    /// Visitors are switched on, and the component that links nodes is there.
    pub(crate) fn visitors_possible(&self) -> bool {
        self.config.visitors_enabled && self.main.components.visitors.is_some()
    }

    /// Answers a request. Every request comes here exactly once.
    pub(crate) fn reply(&mut self, reply: ReplyTo, result: Result<ConferenceAnswer, RequestError>) {
        if result.is_err() {
            self.metrics.conference_requests_failed += 1;
        }
        match reply {
            ReplyTo::Http(id) => self.out.push_back(Output::Answer { id, result }),
            ReplyTo::Iq { id, from, to } => {
                let mut w = XmlWriter::new();
                w.open_ns("iq", ns::CLIENT).attr("type", if result.is_ok() { "result" } else { "error" });
                w.attr_opt("id", id).attr_opt("from", from).attr("to", to);
                match result {
                    Ok(answer) => answer.write(&mut w),
                    Err(e) => e.stanza_error().write(&mut w, None),
                }
                self.send(&NodeId::Main, w);
            }
        }
    }

    /// Notes where a request leads, for operators. Health checks are nobody's business.
    pub(crate) fn decided(&mut self, w: &Waiting, place: Place, why: &'static str, vnode: Option<&Arc<str>>) {
        let r = &w.request;
        if r.room.node().starts_with("__jicofo-health-check") {
            return;
        }
        self.event(Event::Decided(Box::new(Decision {
            room: r.room.clone(),
            machine: r.machine_uid.clone(),
            user: r.hints.user.clone(),
            from: r.from.as_ref().map(Jid::to_string),
            peer: w.peer,
            place,
            why,
            vnode: vnode.cloned(),
        })));
    }

    /// Tells a client to ask again later.
    pub(crate) fn defer(&mut self, w: Waiting) {
        self.metrics.conference_requests_deferred += 1;
        self.decided(&w, Place::Wait, "too many requests at once, or the room is being prepared", None);
        self.reply(w.reply, Ok(w.answer));
    }
}
