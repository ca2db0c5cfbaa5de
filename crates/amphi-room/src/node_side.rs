//! A visitor node's room: what it does with the decisions of [`Shadow`].

use amphi_stanza::{BareJid, Frame, Stanza, ns};
use amphi_visitors::{BudgetLimits, RemoteVerdict, Shadow, ShadowAction, ShadowAddresses, ShadowConfig, VisitorToken};

use crate::address::to_virtual;
use crate::config::{NodeConfig, VisitorNodeConfig};
use crate::context::{Cx, Request};
use crate::destroy::Destroy;
use crate::error::RoomError;
use crate::leave::Leaving;
use crate::message::cleaned;
use crate::occupant::{Affiliation, MucRole, Occupant, Peer};
use crate::owner::Changes;
use crate::presence::Note;
use crate::room::Room;
use crate::side::Side;
use crate::{Groups, Output};

/// A new room's shadow state.
pub(crate) fn shadow(cfg: &NodeConfig, node: &VisitorNodeConfig, real: &BareJid) -> Shadow {
    let addr = ShadowAddresses {
        room: real.clone(),
        host: cfg.host.clone(),
        main_host: node.main_domain.clone(),
        main_muc: node.main_muc.clone(),
        component: node.main_visitors.clone(),
    };
    let chat = cfg.limits.audience_chat;
    let config = ShadowConfig {
        without_visitors: cfg.limits.no_visitors,
        promote_with_token: node.auto_promoted_with_token,
        recorder_prefixes: cfg.recorder_prefixes.clone(),
        budget: BudgetLimits {
            person_burst: chat.person_burst,
            person_every: chat.person_every,
            room_burst: chat.room_burst,
            room_every: std::time::Duration::from_secs(1) / chat.room_per_second.max(1),
        },
        ..ShadowConfig::default()
    };
    Shadow::new(config, addr)
}

fn token_of(peer: &Peer) -> VisitorToken {
    let Some(session) = &peer.session else { return VisitorToken::default() };
    let Some(claims) = &session.claims else { return VisitorToken::default() };
    VisitorToken {
        user_id: claims.user_id(),
        group_id: claims.group.clone(),
        moderator: claims.user_str("moderator").as_deref() == Some("true"),
        tenant_mismatch: session.tenant.is_some() && claims.tenant.is_some() && session.tenant != claims.tenant,
    }
}

/// Refuses what is longer than anybody in the audience may write.
fn too_long(cx: &mut Cx<'_>, rq: &Request<'_>) -> bool {
    let long = rq.stanza.raw().len() > cx.cfg.limits.audience_chat.message;
    if long {
        cx.push(Output::Refused("audience-chat-size"));
        cx.refuse(rq, &RoomError::TooMuch("The message is too long"));
    }
    long
}

impl Room {
    fn shadow(&mut self) -> Option<&mut Shadow> {
        match &mut self.side {
            Side::Shadow(s) => Some(s),
            _ => None,
        }
    }

    /// Whether a remote address may be mirrored here: its host belongs to the main node.
    pub(crate) fn is_from_main(&self, cfg: &NodeConfig, peer: &Peer) -> bool {
        let Some(node) = cfg.node() else { return false };
        let domain = peer.jid.domain();
        domain == node.main_domain
            || domain.strip_suffix(node.main_domain.as_str()).is_some_and(|d| d.ends_with('.'))
            || node.main_hosts.contains(domain)
    }

    /// Does what the shadow decided.
    pub(crate) fn do_shadow(&mut self, cx: &mut Cx<'_>, actions: Vec<ShadowAction>) {
        for a in actions {
            if self.destroyed && !matches!(a, ShadowAction::Send(_)) {
                continue;
            }
            match a {
                ShadowAction::Send(s) => self.send_from_shadow(cx, s),
                ShadowAction::Unlock => self.unlock(cx),
                ShadowAction::Settings(s) => {
                    let changed = s.password != self.settings.password;
                    self.settings.password = s.password;
                    self.settings.allow_unauthenticated = s.allow_unauthenticated;
                    if let Some(id) = s.meeting_id {
                        self.meeting_id = id;
                    }
                    self.created_timestamp = s.created.or(self.created_timestamp);
                    self.announce_changes(cx, &Changes { password: changed, ..Changes::SOMETHING });
                }
                // No component on this node shows files or polls yet; a client takes them for switched off.
                ShadowAction::Files { .. } | ShadowAction::Polls(_) => {}
                ShadowAction::SetModerator { nick, moderator } => self.set_mirrored_role(cx, &nick, moderator),
                ShadowAction::RemoveRemote { nick } => self.drop_mirrored(cx, &nick),
                ShadowAction::Deliver(s) => self.deliver_here(cx, &s),
                ShadowAction::DeliverTo { visitor, stanza } => {
                    if let Some(o) = self.roster.by_real(visitor.jid()) {
                        let peer = o.peer.clone();
                        let from = stanza.from().ok().flatten().map(|f| to_virtual(cx.cfg, &f));
                        let r = stanza.rewrite();
                        let bytes = match from {
                            Some(f) => r.set("from", f).finish(),
                            None => r.finish(),
                        };
                        cx.send(&peer, bytes);
                    }
                }
                ShadowAction::History(s) => self.keep_as_is(cx, s),
                ShadowAction::Destroy { reason } => self.destroy(cx, &Destroy::reason(reason)),
            }
        }
    }

    /// To the main node as it is; to a connection of ours in the form that it knows.
    fn send_from_shadow(&self, cx: &mut Cx<'_>, s: Stanza) {
        let to = s.to().ok().flatten();
        let local = to.and_then(|t| self.roster.by_real(&t)).map(|o| o.peer.clone());
        match local {
            Some(peer) if peer.is_local() => {
                let bytes = s.rewrite().set("from", &self.virt).finish();
                cx.send(&peer, bytes);
            }
            _ => cx.route(s),
        }
    }

    fn set_mirrored_role(&mut self, cx: &mut Cx<'_>, nick: &str, moderator: bool) {
        let Some(o) = self.roster.get_mut(nick) else { return };
        let nick = o.nick.clone();
        o.affiliation = if moderator { Affiliation::Owner } else { Affiliation::None };
        self.roster.set_role(&nick, if moderator { MucRole::Moderator } else { MucRole::Participant });
        self.show_again(cx, &nick, &Note::default());
    }

    fn drop_mirrored(&mut self, cx: &mut Cx<'_>, nick: &str) {
        let found = self.roster.get(nick).filter(|o| !o.peer.is_local()).map(|o| o.nick.clone());
        if let Some(n) = found {
            self.leave(cx, &n, None, Note::gone(), Leaving::Lost);
        }
    }

    /// Group chat for everybody here, kept for those who come later.
    fn deliver_here(&mut self, cx: &mut Cx<'_>, s: &Stanza) {
        let from = s.from().ok().flatten().map(|f| to_virtual(cx.cfg, &f));
        let frame = match from {
            Some(f) => s.rewrite().set("from", f).frame(),
            None => Frame::of(s),
        };
        self.broadcast(cx, Groups::ALL, frame);
        self.keep(cx, s, None);
    }

    pub(crate) fn shadow_joined(&mut self, cx: &mut Cx<'_>, o: &Occupant) {
        if !o.is_visitor() {
            return;
        }
        let (now, presence) = (cx.now, o.stanza());
        let Some(s) = self.shadow() else { return };
        let Some(jid) = o.peer.full() else { return };
        let actions = s.visitor_joined(now, &jid, &o.nick, token_of(&o.peer), &presence);
        self.do_shadow(cx, actions);
    }

    pub(crate) fn shadow_updated(&mut self, cx: &mut Cx<'_>, nick: &str, presence: &Stanza) {
        let Some(o) = self.roster.get(nick).filter(|o| o.is_visitor()) else { return };
        let (now, jid) = (cx.now, o.peer.full());
        let (Some(s), Some(jid)) = (self.shadow(), jid) else { return };
        let actions = s.visitor_presence(now, &jid, presence);
        self.do_shadow(cx, actions);
    }

    pub(crate) fn shadow_left(&mut self, cx: &mut Cx<'_>, o: &Occupant) {
        if !o.is_visitor() {
            return;
        }
        let now = cx.now;
        let (Some(s), Some(jid)) = (self.shadow(), o.peer.full()) else { return };
        let actions = s.visitor_left(now, &jid);
        self.do_shadow(cx, actions);
    }

    /// Presence from the main node.
    pub(crate) fn mirrored_presence(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &str) {
        if !self.is_from_main(cx.cfg, rq.peer) {
            return cx.refuse(rq, &RoomError::NoAccess);
        }
        let now = cx.now;
        let (Some(s), Some(real)) = (self.shadow(), rq.peer.full()) else {
            return cx.refuse(rq, &RoomError::BadRequest("Only a full address can enter a room"));
        };
        let (verdict, actions) = s.remote_presence(now, nick, &real, rq.stanza);
        self.do_shadow(cx, actions);
        let present = self.sender(rq).map(|o| o.nick.clone());
        match (verdict, present) {
            (RemoteVerdict::Ignore, _) | (RemoteVerdict::Unchanged, Some(_)) => {}
            (RemoteVerdict::Left, Some(n)) => {
                let words = self.clean_presence(rq.peer, rq.stanza);
                self.leave(cx, &n, Some(words), Note::gone(), Leaving::Own);
            }
            (RemoteVerdict::Left, None) => {
                self.lock_queue.remove(&rq.peer.jid);
            }
            (RemoteVerdict::Join | RemoteVerdict::Update, Some(n)) if *n == *nick => {
                self.presence_update(cx, rq, &n);
            }
            (_, Some(n)) => {
                // Another nick of the same address: the earlier one is over.
                self.leave(cx, &n, None, Note::gone(), Leaving::Lost);
                self.presence_of_outsider(cx, rq, nick, true);
            }
            (_, None) => {
                if !self.lock_queue.update(&rq.peer.jid, rq.stanza) {
                    self.presence_of_outsider(cx, rq, nick, true);
                }
            }
        }
    }

    /// A visitor writes.
    pub(crate) fn visitor_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, o: &Occupant) {
        if too_long(cx, rq) {
            return;
        }
        let said = cleaned(rq.stanza).stanza();
        let now = cx.now;
        let (Some(s), Some(jid)) = (self.shadow(), o.peer.full()) else {
            return cx.refuse(rq, &RoomError::Forbidden);
        };
        match s.visitor_groupchat(now, &jid, &said) {
            Ok(actions) => self.do_shadow(cx, actions),
            Err(e) => cx.refuse(rq, &RoomError::Stanza(e)),
        }
    }

    /// A visitor writes to somebody on stage.
    pub(crate) fn visitor_private_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, o: &Occupant, nick: &str) {
        if too_long(cx, rq) {
            return;
        }
        let said = cleaned(rq.stanza).stanza();
        let now = cx.now;
        let (Some(s), Some(jid)) = (self.shadow(), o.peer.full()) else {
            return cx.refuse(rq, &RoomError::Forbidden);
        };
        match s.visitor_private(now, &jid, nick, &said) {
            Ok(actions) => self.do_shadow(cx, actions),
            Err(e) => cx.refuse(rq, &RoomError::Stanza(e)),
        }
    }

    /// Whether group chat of somebody mirrored has not been heard here before.
    pub(crate) fn is_news(&mut self, said: &Stanza) -> bool {
        self.shadow().is_none_or(|s| s.is_news(said))
    }

    /// Group chat from the main node: of somebody who is not mirrored, or of another node's visitor.
    pub(crate) fn shadow_chat_from_main(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let relayed = cx.cfg.node().is_some_and(|n| n.main_muc == rq.peer.jid.domain())
            && rq.peer.jid.local() == self.real.local();
        let from = rq.peer.jid.clone();
        let Some(s) = self.shadow() else { return };
        if !relayed && from.as_full().is_none_or(|f| s.nick_of(&f).is_none()) {
            return cx.refuse(rq, &RoomError::NotOccupant);
        }
        let said = rq.stanza.clone();
        let actions = s.main_groupchat(&from, &said);
        self.do_shadow(cx, actions);
    }

    /// The main room refused what a visitor wrote: the visitor is told. `false`: it is some other error.
    pub(crate) fn error_from_main(&self, cx: &mut Cx<'_>, rq: &Request<'_>) -> bool {
        let from_main = cx.cfg.node().is_some_and(|n| n.main_muc == rq.peer.jid.domain())
            && rq.peer.jid.local() == self.real.local();
        if !from_main || rq.peer.is_local() {
            return false;
        }
        let visitor = rq.to.resource().and_then(|n| self.roster.get(n)).filter(|o| o.is_visitor());
        if let Some(o) = visitor {
            let peer = o.peer.clone();
            let bytes = rq.stanza.rewrite().set("from", &self.virt).set("to", &peer.jid).finish();
            cx.send(&peer, bytes);
        }
        true
    }

    /// History from the main room, addressed to the host.
    pub(crate) fn shadow_history(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let from_main = cx.cfg.node().is_some_and(|n| n.main_muc == rq.peer.jid.domain());
        if !from_main || rq.stanza.child("delay", ns::DELAY).is_none() {
            return;
        }
        let from = rq.peer.jid.clone();
        let Some(s) = self.shadow() else { return };
        let actions = s.main_history(&from, rq.stanza);
        self.do_shadow(cx, actions);
    }

    /// An order of the main node.
    pub(crate) fn shadow_iq(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        if !matches!(rq.stanza.ty().as_deref(), Some("get" | "set")) {
            return;
        }
        if rq.peer.is_local() {
            return cx.refuse(rq, &RoomError::Forbidden);
        }
        let now = cx.now;
        let Some(s) = self.shadow() else { return };
        let actions = s.handle_iq(now, rq.stanza);
        self.do_shadow(cx, actions);
    }
}
