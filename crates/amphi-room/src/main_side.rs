//! A main room's dealings with its visitor nodes: what the room does with the decisions of [`MainLinks`].

use amphi_stanza::{BareJid, FullJid, Stanza, XmlWriter, ns};
use amphi_visitors::wire::Settings;
use amphi_visitors::{
    Action, Admission, Applicant, MainAddresses, MainConfig as LinksConfig, MainLinks, Occupant as OnStage,
    PromotionLimits, RoomPolicy, RoomState, Trust,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::config::{MainConfig, NodeConfig};
use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::leave::Leaving;
use crate::message::{Handled, cleaned};
use crate::occupant::{MucRole, Occupant, Peer};
use crate::room::{Room, RoomKind};
use crate::side::{Gate, Side};

/// The links of a new room.
pub(crate) fn links(cx: &mut Cx<'_>, main: &MainConfig, real: &BareJid, virt: &BareJid) -> MainLinks {
    let cfg = cx.cfg;
    let muc_prefix = cfg.conference_muc().and_then(|m| m.mapper.as_ref()).map(|m| m.prefix.clone());
    let focus = main.focus.as_ref().map_or_else(|| ["focus@auth.", &cfg.host].concat(), BareJid::to_string);
    let addr = MainAddresses {
        room: real.clone(),
        virtual_room: virt.to_string(),
        host: cfg.host.clone(),
        component: main.visitors.clone().unwrap_or_default(),
        muc_prefix: muc_prefix.unwrap_or_else(|| "conference".to_owned()),
        node_suffix: cfg.visitor_suffix.clone(),
        focus,
    };
    let config = LinksConfig {
        recorder_prefixes: cfg.recorder_prefixes.clone(),
        promotion: PromotionLimits {
            auto_allow: main.auto_allow_visitor_promotion,
            ignore_hosts: main.visitors_ignore_list.iter().cloned().collect(),
            ..PromotionLimits::default()
        },
        ..LinksConfig::default()
    };
    let mut rng = StdRng::from_rng(cx.rng);
    let uuid = move || {
        let bytes: [u8; 16] = rand::Rng::random(&mut rng);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    };
    MainLinks::new(config, addr, Box::new(uuid))
}

/// Recorders and the like: they pass and need no seat.
pub(crate) fn is_ignored(cfg: &NodeConfig, peer: &Peer) -> bool {
    cfg.main().is_some_and(|m| m.visitors_ignore_list.contains(peer.jid.domain()))
        || cfg.is_recorder(&peer.jid)
        || cfg.is_transcriber(&peer.jid)
}

/// Return admission (`spec/signaling.md` 4.9).
pub(crate) fn gate(cx: &Cx<'_>, links: &mut MainLinks, peer: &Peer, admin: bool) -> Result<Gate, RoomError> {
    let ignored = is_ignored(cx.cfg, peer);
    let claims = peer.session.as_ref().and_then(|s| s.claims.as_deref());
    let user_id = claims.and_then(crate::Claims::user_id);
    let role = claims.and_then(|c| c.user_str("role"));
    let Some(session) = peer.full() else { return Err(RoomError::NotOccupant) };
    let applicant = Applicant {
        session: &session,
        previous: None,
        user_id: user_id.as_deref(),
        group_id: claims.and_then(|c| c.group.as_deref()),
        visitor_role: role.as_deref() == Some("visitor"),
        admin,
    };
    match links.admission(cx.now, &applicant) {
        Admission::Pass => Ok(Gate { ignored, ..Gate::default() }),
        Admission::Promoted { mark } => Ok(Gate { promoted: true, mark, ignored }),
        Admission::Refuse(r) => Err(RoomError::Stanza(r.stanza_error())),
    }
}

fn on_stage<'o>(o: &'o Occupant, real: &'o FullJid) -> OnStage<'o> {
    OnStage { nick: &o.nick, real, moderator: o.role == MucRole::Moderator, admin: o.traits.admin }
}

impl Room {
    fn links(&mut self) -> Option<&mut MainLinks> {
        match &mut self.side {
            Side::Main(l) => Some(l),
            _ => None,
        }
    }

    /// Does what the links decided.
    pub(crate) fn do_main(&mut self, cx: &mut Cx<'_>, actions: Vec<Action>) {
        for a in actions {
            match a {
                Action::Send(s) => {
                    if let Some(username) = promised(&s) {
                        cx.promise(self.real.clone(), username);
                    }
                    cx.route(s);
                }
                Action::Deliver(s) => self.say_as_room(cx, s.rewrite()),
                Action::DeliverTo { nick, stanza } => {
                    if let Some(o) = self.roster.get(&nick) {
                        let from = self.base_for(&o.peer);
                        let bytes = stanza.rewrite().set("from", from).set("to", &o.peer.jid).finish();
                        let peer = o.peer.clone();
                        cx.send(&peer, bytes);
                    }
                }
                Action::Transcribing(t) => self.set_visitors_metadata(cx, |v| {
                    v.insert("transcribingLanguages".to_owned(), Value::from(t.langs.join(",")));
                    v.insert("transcribingCount".to_owned(), Value::from(t.count));
                }),
                Action::NodeLost { vnode } => self.tell_focus_node_lost(cx, &vnode),
            }
        }
    }

    /// `metadata.visitors.promoted[endpoint]`.
    pub(crate) fn mark_promoted(&mut self, cx: &mut Cx<'_>, endpoint: &str) {
        self.set_visitors_metadata(cx, |v| {
            let promoted = v.entry("promoted").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(p) = promoted {
                p.insert(endpoint.to_owned(), Value::Bool(true));
            }
        });
    }

    /// A stock focus ignores this; ours opens another node.
    fn tell_focus_node_lost(&self, cx: &mut Cx<'_>, vnode: &str) {
        let Some(focus) = self.roster.focus() else { return };
        let component = cx.cfg.main().and_then(|m| m.visitors.clone()).unwrap_or_default();
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("from", component).attr("to", &focus.peer.jid);
        w.open_ns("node-lost", amphi_visitors::wire::AMPHI).attr("vnode", vnode);
        w.attr("room", self.base_for(&focus.peer)).close();
        let peer = focus.peer.clone();
        cx.send(&peer, w.finish());
    }

    /// Properties that nodes are told.
    pub(crate) fn tell_room_state(&mut self, cx: &mut Cx<'_>) {
        let state = RoomState {
            settings: Settings {
                password: self.settings.password.clone(),
                lobby: Some(self.lobby.is_some()),
                meeting_id: Some(self.meeting_id.clone()),
                created: self.created_timestamp,
                allow_unauthenticated: self.settings.allow_unauthenticated,
            },
            ..RoomState::default()
        };
        let now = cx.now;
        if let Some(l) = self.links()
            && *l.room_state() != state
        {
            let actions = l.room_changed(now, state, None);
            self.do_main(cx, actions);
        }
    }

    pub(crate) fn main_joined(&mut self, cx: &mut Cx<'_>, o: &Occupant) {
        self.tell_room_state(cx);
        let (now, presence) = (cx.now, o.stanza());
        let (Some(l), Some(real)) = (self.links(), o.peer.full()) else { return };
        let actions = l.occupant_joined(now, &on_stage(o, &real), &presence);
        self.do_main(cx, actions);
    }

    pub(crate) fn main_updated(&mut self, cx: &mut Cx<'_>, nick: &str, presence: &Stanza) {
        let Some(o) = self.roster.get(nick).cloned() else { return };
        let now = cx.now;
        let (Some(l), Some(real)) = (self.links(), o.peer.full()) else { return };
        let actions = l.occupant_updated(now, &on_stage(&o, &real), presence);
        self.do_main(cx, actions);
    }

    pub(crate) fn main_role_changed(&mut self, cx: &mut Cx<'_>, nick: &str) {
        let Some(o) = self.roster.get(nick).cloned() else { return };
        let now = cx.now;
        let (Some(l), Some(real)) = (self.links(), o.peer.full()) else { return };
        let actions = l.moderator_changed(now, &on_stage(&o, &real));
        self.do_main(cx, actions);
    }

    pub(crate) fn main_left(&mut self, cx: &mut Cx<'_>, o: &Occupant, leaving: Leaving) {
        let now = cx.now;
        let Some(l) = self.links() else { return };
        let actions = l.occupant_left(now, &o.nick);
        if let (Leaving::Lost, Some(real)) = (leaving, o.peer.full()) {
            l.session_gone(now, &real);
        }
        self.do_main(cx, actions);
    }

    /// Whether the end of a connection matters after it has left: a promoted one may come back until then.
    pub(crate) fn waits_for_session_end(&self) -> bool {
        matches!(&self.side, Side::Main(l) if l.promotions().active())
    }

    /// A connection has ended that is not in the room any more.
    pub(crate) fn main_session_gone(&mut self, cx: &Cx<'_>, session: &FullJid) {
        let now = cx.now;
        if let Some(l) = self.links() {
            l.session_gone(now, session);
        }
    }

    pub(crate) fn main_said(&mut self, cx: &mut Cx<'_>, o: &Occupant, said: &Stanza, kept: Option<&Stanza>) {
        let now = cx.now;
        let (Some(l), Some(real)) = (self.links(), o.peer.full()) else { return };
        let actions = l.groupchat(now, &on_stage(o, &real), said, kept);
        self.do_main(cx, actions);
    }

    pub(crate) fn main_moderator_message(
        &mut self,
        cx: &mut Cx<'_>,
        o: &Occupant,
        text: &str,
    ) -> Result<Handled, RoomError> {
        let now = cx.now;
        let (Some(l), Some(real)) = (self.links(), o.peer.full()) else { return Ok(Handled::No) };
        match l.moderator_message(now, &on_stage(o, &real), text) {
            Ok(None) => Ok(Handled::No),
            Ok(Some(actions)) => {
                self.do_main(cx, actions);
                Ok(Handled::Swallowed)
            }
            Err(e) => Err(RoomError::Stanza(e)),
        }
    }

    pub(crate) fn main_chat_of_visitor(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let Side::Main(l) = &self.side else { return };
        let Some(from) = rq.peer.full().filter(|f| l.is_visitor(f)) else {
            return cx.refuse(rq, &RoomError::NotOccupant);
        };
        if let Err(e) = self.check_visitor_chat(rq) {
            return cx.refuse(rq, &e);
        }
        let said = visitors_words(rq.stanza);
        let kept = self.keep(cx, &said.rewrite().set("from", &self.real).stanza(), None);
        let now = cx.now;
        let Some(l) = self.links() else { return };
        match l.groupchat_from_visitor(now, &from, &said, kept.as_ref()) {
            Ok(actions) => self.do_main(cx, actions),
            Err(e) => cx.refuse(rq, &RoomError::Stanza(e)),
        }
    }

    /// A restricted chat is for those who may write, which visitors never do (`spec/signaling.md` 3.7, 4.7).
    fn check_visitor_chat(&self, rq: &Request<'_>) -> Result<(), RoomError> {
        let restricted = self.metadata.get("permissions").and_then(|p| p.get("groupChatRestricted"));
        if restricted == Some(&Value::Bool(true)) && rq.plain("body").is_some() {
            return Err(RoomError::ChatRestricted);
        }
        // Commands and transcripts are for the stage.
        if rq.plain("body").is_none() && rq.stanza.child("json-message", ns::JITMEET).is_some() {
            return Err(RoomError::Forbidden);
        }
        Ok(())
    }

    pub(crate) fn main_private_of_visitor(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &str) {
        let Some(from) = rq.peer.full() else { return cx.refuse(rq, &RoomError::NotOccupant) };
        let known = self.roster.get(nick).is_some();
        let said = visitors_words(rq.stanza);
        let Some(l) = self.links() else { return };
        if !l.is_visitor(&from) {
            return cx.refuse(rq, &RoomError::NotOccupant);
        }
        if !known {
            return cx.refuse(rq, &RoomError::NoSuchOccupant);
        }
        match l.private_from_visitor(&from, nick, &said) {
            Ok(actions) => self.do_main(cx, actions),
            Err(e) => cx.refuse(rq, &RoomError::Stanza(e)),
        }
    }

    /// A request to the visitors component, or a node's answer to one of ours.
    pub(crate) fn main_iq(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let now = cx.now;
        let request = matches!(rq.stanza.ty().as_deref(), Some("get" | "set"));
        let local = rq.peer.session.clone();
        let Some(l) = self.links() else { return cx.refuse(rq, &RoomError::Unsupported("This room has no visitors")) };
        if !request {
            // Only nodes answer; what a local client says here is nobody's business.
            if local.is_none() {
                let actions = l.handle_answer(now, rq.stanza);
                self.do_main(cx, actions);
            }
            return;
        }
        let admin = rq.peer.is_admin(cx.cfg);
        let trust = match (admin, &local) {
            (true, _) => Trust::Admin,
            (false, None) => Trust::Server,
            (false, Some(_)) => Trust::Nobody,
        };
        // The sender is the connection, whatever the stanza says.
        let iq = rq.stanza.rewrite().set("from", &rq.peer.jid).set("to", rq.to).stanza();
        let actions = l.handle_iq(now, &iq, trust);
        self.do_main(cx, actions);
    }

    /// Metadata that the gate looks at has changed.
    pub(crate) fn policy_changed(&mut self) {
        if self.kind != RoomKind::Main {
            return;
        }
        let visitors = self.metadata.get("visitors").cloned().unwrap_or(Value::Null);
        let list = |key: &str| -> Option<std::collections::BTreeSet<String>> {
            let a = self.metadata.get(key)?.as_array()?;
            Some(a.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        };
        let policy = RoomPolicy {
            auto_promote: visitors.get("autoPromote") == Some(&Value::Bool(true)),
            live: visitors.get("live").and_then(Value::as_bool),
            moderators: list("moderators"),
            participants: list("participants"),
            all_moderators: false,
            members_only: self.settings.members_only,
        };
        if let Some(l) = self.links() {
            l.set_policy(policy);
        }
    }

    /// Whether an error came back from a node: nobody in the room wants it.
    pub(crate) fn is_bounce_of_node(&self, from: &FullJid) -> bool {
        matches!(&self.side, Side::Main(l) if l.is_node_muc(from.domain()))
    }
}

/// A visitor's message without what only servers may say; the name in it is the node's word.
fn visitors_words(stanza: &Stanza) -> Stanza {
    let names = stanza.children().filter(|e| crate::message::is_name(e.name(), e.ns()));
    let names: String = names.map(|e| e.standalone()).collect();
    cleaned(stanza)
        .append(|w| {
            w.raw(&names);
        })
        .stanza()
}

/// The one-time name in an answer that lets a visitor come on stage.
fn promised(stanza: &Stanza) -> Option<String> {
    let answer = stanza.child("visitors", ns::VISITORS)?.child_named("promotion-response")?;
    answer.attr("allow").filter(|a| a == "true")?;
    answer.attr("username").map(std::borrow::Cow::into_owned)
}
