//! Shadow rooms: opening them on visitor nodes, linking them to the main room, sending visitors there, and what happens
//! when a node is lost (`spec/focus.md` 3.3 to 3.6, `spec/signaling.md` 4.13). A shadow room takes visitors only once it
//! is joined **and** linked.

use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, Stanza, ns};

use crate::admission::Why;
use crate::conference::{Conference, Phase};
use crate::core::{Core, Waiting};
use crate::iq::{Answered, Purpose, What};
use crate::muc::{Change, Muc, Step};
use crate::nodes::Choice;
use crate::pending::PendingCount;
use crate::publish::{self, Publisher};
use crate::stage::Judge;
use crate::{Event, NodeId, Place};

/// How far a shadow room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Being joined.
    Entering,
    /// Joined; the main node was asked to connect it.
    Linking,
    Linked,
    /// The connection to its node is lost. What was known is kept, for a resumption.
    Away {
        /// The main node was told already.
        told: bool,
    },
    /// The node is back; the main node was asked to forget the old link first.
    Unlinking,
}

impl Link {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Entering => "entering",
            Self::Linking => "linking",
            Self::Linked => "linked",
            Self::Away { .. } => "away",
            Self::Unlinking => "unlinking",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Vroom {
    pub(crate) muc: Muc,
    pub(crate) link: Link,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) pending: PendingCount,
    /// Members with role visitor.
    pub(crate) visitors: u32,
    /// Somebody was sent here: the room has an audience. Prepared rooms are not used yet.
    pub(crate) used: bool,
    pub(crate) publisher: Publisher,
}

impl Vroom {
    /// Visitors that count.
    pub(crate) fn present(&self) -> u32 {
        if matches!(self.link, Link::Away { .. }) { 0 } else { self.visitors }
    }

    fn load(&self) -> u32 {
        self.present() + self.pending.total() + self.waiting.len() as u32
    }

    /// Takes its numbers out of the node's.
    fn uncount(&mut self, core: &mut Core, vnode: &str) {
        let visitors = self.present();
        let pending = self.pending.clear();
        if let Some(n) = core.nodes.get_mut(vnode) {
            n.visitors -= visitors.min(n.visitors);
            n.pending -= pending.min(n.pending);
        }
    }
}

impl Conference {
    /// The shadow room's address: the main domain in the room's domain is replaced, so the prefix and a tenant's label
    /// stay.
    fn vroom_address(&self, core: &Core, vnode: &str) -> Option<BareJid> {
        let domain = &core.nodes.get(vnode)?.domain;
        let prefix = self.room.domain().strip_suffix(core.config.xmpp_domain.as_str())?;
        BareJid::new(self.room.node(), &format!("{prefix}{domain}")).ok()
    }

    /// Finds a place in the audience for a request.
    pub(crate) fn redirect(&mut self, core: &mut Core, now: Instant, w: Waiting) {
        let used: Vec<_> = self.vrooms.iter().map(|(name, v)| (name.clone(), v.load())).collect();
        match core.nodes.choose(now, &used, core.config.open_second_node_at) {
            Choice::NoNodes => {
                let because = "there is no visitor node";
                self.admit(core, now, Waiting { because, ..w });
            }
            Choice::NoCapacity => {
                core.metrics.no_capacity += 1;
                core.decided(&w, Place::Wait, "every visitor node is full, draining or away", None);
                core.reply(w.reply, Ok(w.answer));
            }
            Choice::Used(vnode) => self.send_to(core, now, &vnode, w),
            Choice::Open(vnode) => {
                if self.open(core, now, &vnode) {
                    self.send_to(core, now, &vnode, w);
                } else {
                    core.metrics.no_capacity += 1;
                    core.decided(&w, Place::Wait, "no shadow room can be opened", None);
                    core.reply(w.reply, Ok(w.answer));
                }
            }
        }
    }

    fn send_to(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>, mut w: Waiting) {
        let (Some(v), Some(n)) = (self.vrooms.get_mut(vnode), core.nodes.get_mut(vnode)) else {
            core.defer(w);
            return;
        };
        v.used = true;
        if v.link != Link::Linked {
            if v.waiting.len() < core.config.limits.waiting_requests {
                v.waiting.push(w);
            } else {
                core.defer(w);
            }
            return;
        }
        v.pending.add(now);
        n.pending += 1;
        w.answer.focus_jid = n.jid.as_ref().map(|j| j.bare_str().to_owned());
        w.answer.vnode = Some(vnode.to_string());
        w.answer.ready = true;
        let m = &mut core.metrics;
        let (count, why) = match w.why {
            Some(Why::NotListed) => (&mut m.redirected_not_listed, "the room lists its participants and this is none"),
            Some(Why::AudienceOpen) => (&mut m.redirected_audience_open, "the room has an audience already"),
            Some(Why::StageFull) => (&mut m.redirected_stage_full, "the stage is full"),
            Some(Why::Requested) | None => (&mut m.redirected_requested, "the client asked to be a visitor"),
        };
        *count += 1;
        core.decided(&w, Place::Audience, why, Some(vnode));
        core.reply(w.reply, Ok(w.answer));
    }

    /// Begins to open a shadow room.
    fn open(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) -> bool {
        let Some(jid) = self.vroom_address(core, vnode) else { return false };
        let Ok(me) = jid.occupant(&core.config.nick) else { return false };
        let muc = Muc::enter(core, now, &self.room, Some(vnode.clone()), jid, me);
        if let Some(n) = core.nodes.get_mut(vnode) {
            n.vrooms += 1;
        }
        let vroom = Vroom {
            muc,
            link: Link::Entering,
            waiting: Vec::new(),
            pending: PendingCount::default(),
            visitors: 0,
            used: false,
            publisher: Publisher::default(),
        };
        self.vrooms.insert(vnode.clone(), vroom);
        true
    }

    /// Opens a shadow room before it is needed.
    pub(crate) fn prepare_ahead(&mut self, core: &mut Core, now: Instant) {
        if self.phase != Phase::Started || !self.vrooms.is_empty() || self.prepare_after.is_some_and(|at| at > now) {
            return;
        }
        // A stock main node takes nobody on stage without promotion once a shadow room is linked: there it waits for need.
        if self.stage.judge != Judge::Room {
            return;
        }
        let Some(limit) = self.seat_limit(core) else { return };
        let share = u64::from(limit) * u64::from(core.config.prepare_at_percent);
        if u64::from(self.seats_used()) * 100 < share {
            return;
        }
        if let Choice::Open(vnode) = core.nodes.choose(now, &[], core.config.open_second_node_at) {
            // A room that is closed again by its node is not opened again at once.
            self.prepare_after = Some(now + core.config.seat_timeout);
            self.open(core, now, &vnode);
        }
    }

    fn tell_main(&mut self, core: &mut Core, now: Instant, purpose: Purpose, children: &[(&'static str, Arc<str>)]) {
        let Some(component) = core.main.components.visitors.clone() else { return };
        let room = self.room.clone();
        core.ask(now, &NodeId::Main, &component, "get", purpose, |w| {
            w.open_ns("visitors", ns::VISITORS).attr("room", &room);
            for (name, vnode) in children {
                w.open_ns(name, ns::VISITORS).attr("vnode", vnode).close();
            }
            w.close();
        });
    }

    /// Tells the main node that all shadow rooms go. False if there is nothing to tell or nobody to tell it to.
    pub(crate) fn disconnect_all(&mut self, core: &mut Core, now: Instant) -> bool {
        let all: Vec<_> = self.vrooms.keys().map(|v| ("disconnect-vnode", v.clone())).collect();
        if all.is_empty() || !core.main.connected || core.main.components.visitors.is_none() {
            return false;
        }
        let purpose = self.main.purpose(What::StopDisconnect);
        self.tell_main(core, now, purpose, &all);
        true
    }

    /// Gives a shadow room up; returns the requests that waited for it.
    pub(crate) fn drop_vroom(&mut self, core: &mut Core, now: Instant, vnode: &str) -> Vec<Waiting> {
        self.media_node_gone(core, now, &vnode.into());
        if self.vrooms.get(vnode).is_some_and(|v| !matches!(v.link, Link::Away { .. })) {
            self.tell_all_visitors(core, vnode, false);
        }
        let Some(mut v) = self.vrooms.remove(vnode) else { return Vec::new() };
        v.uncount(core, vnode);
        if let Some(n) = core.nodes.get_mut(vnode) {
            n.vrooms = n.vrooms.saturating_sub(1);
        }
        // A room that was lost with its node is left by itself; one that may be resumed is not.
        if core.nodes.get(vnode).is_some() {
            v.muc.leave(core);
        }
        v.waiting
    }

    fn vroom_failed(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>, why: String) {
        core.metrics.vrooms_failed += 1;
        core.event(Event::VroomFailed { room: self.room.clone(), vnode: vnode.clone(), why });
        if let Some(n) = core.nodes.get_mut(vnode) {
            n.retry_at = Some(now + core.config.vnode_retry);
        }
        if self.vrooms.get(vnode).is_some_and(|v| v.link == Link::Linking) {
            let purpose = self.main.purpose(What::Disconnect);
            self.tell_main(core, now, purpose, &[("disconnect-vnode", vnode.clone())]);
        }
        for w in self.drop_vroom(core, now, vnode) {
            self.redirect(core, now, w);
        }
        self.audience_changed(core, now);
    }

    pub(crate) fn on_vroom_answer(&mut self, core: &mut Core, now: Instant, purpose: Purpose, answered: Answered) {
        let Some(vnode) = purpose.vnode else { return };
        let Some(v) = self.vrooms.get_mut(&vnode) else { return };
        if v.muc.serial != purpose.serial {
            return;
        }
        match purpose.what {
            What::OwnerForm | What::OwnerSubmit => match v.muc.answer(core, now, &purpose.what, answered) {
                Step::Waiting => {}
                Step::Ready(_) => {
                    v.link = Link::Linking;
                    let purpose = v.muc.purpose(What::Connect);
                    self.tell_main(core, now, purpose, &[("connect-vnode", vnode)]);
                }
                Step::Failed(why) => self.vroom_failed(core, now, &vnode, why),
            },
            What::Connect => match answered {
                Ok(_) if v.link == Link::Linking => self.linked(core, now, &vnode),
                Ok(_) => {}
                Err(why) => self.vroom_failed(core, now, &vnode, format!("connect-vnode: {why}")),
            },
            What::Disconnect if v.link == Link::Unlinking => self.enter_again(core, now, &vnode),
            _ => {}
        }
    }

    fn linked(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) {
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        v.link = Link::Linked;
        self.media_node_sure(core, now, vnode);
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        let waiting = std::mem::take(&mut v.waiting);
        core.metrics.vrooms_linked += 1;
        core.event(Event::VroomLinked { room: self.room.clone(), vnode: vnode.clone() });
        self.publish_vroom(core, now, vnode);
        for w in waiting {
            self.send_to(core, now, vnode, w);
        }
    }

    pub(crate) fn publish_vroom(&mut self, core: &mut Core, now: Instant, vnode: &str) {
        let count = self.visitors();
        if let Some(v) = self.vrooms.get_mut(vnode) {
            publish::presence(core, &v.muc, false, count, None);
            v.publisher.sent(now, count);
        }
    }

    /// A presence from a shadow room.
    pub(crate) fn on_vroom_presence(
        &mut self,
        core: &mut Core,
        now: Instant,
        vnode: &Arc<str>,
        nick: &str,
        stanza: &Stanza,
    ) {
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        if matches!(v.link, Link::Away { .. } | Link::Unlinking) {
            return;
        }
        match v.muc.presence(core, now, nick, stanza) {
            Change::Nothing => {}
            Change::Updated => self.media_updated(core, now, &NodeId::Vnode(vnode.clone()), nick),
            Change::Renamed => {
                let name = v.muc.members.get(nick).map(|m| m.name.clone()).unwrap_or_default();
                self.tell_visitor(core, nick, &name, true);
                self.media_updated(core, now, &NodeId::Vnode(vnode.clone()), nick);
            }
            Change::Refused(why) => self.vroom_failed(core, now, vnode, why),
            Change::Gone if v.link != Link::Linked => self.vroom_failed(core, now, vnode, "room gone".into()),
            Change::Gone | Change::NotOwner => self.vroom_closed(core, now, vnode),
            Change::Joined(nick) => {
                if !v.muc.members.get(&nick).is_some_and(|m| m.is_visitor()) {
                    return;
                }
                v.visitors += 1;
                v.used = true;
                let awaited = v.pending.cancel_one();
                let name = v.muc.members.get(&nick).map(|m| m.name.clone()).unwrap_or_default();
                let occupant = v.muc.occupant(&nick);
                if let Some(n) = core.nodes.get_mut(vnode) {
                    n.visitors += 1;
                    n.pending -= u32::from(awaited).min(n.pending);
                }
                core.metrics.visitors += 1;
                let event = self.joined_event(&NodeId::Vnode(vnode.clone()), occupant);
                core.event(event);
                self.tell_visitor(core, &nick, &name, true);
                self.media_joined(core, now, &NodeId::Vnode(vnode.clone()), &nick);
                self.start_deadline = None;
                self.audience_changed(core, now);
            }
            Change::Left { nick, member, .. } => {
                if !member.is_visitor() {
                    return;
                }
                v.visitors = v.visitors.saturating_sub(1);
                let occupant = v.muc.occupant(&nick);
                if let Some(n) = core.nodes.get_mut(vnode) {
                    n.visitors = n.visitors.saturating_sub(1);
                }
                let event = self.left_event(&NodeId::Vnode(vnode.clone()), occupant);
                core.event(event);
                self.tell_visitor(core, &nick, &member.name, false);
                self.media_left(core, now, &NodeId::Vnode(vnode.clone()), &nick);
                self.audience_changed(core, now);
            }
        }
    }

    /// The node closed the room, or does not let us own it.
    pub(crate) fn vroom_closed(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) {
        let waiting = self.drop_vroom(core, now, vnode);
        let purpose = self.main.purpose(What::Disconnect);
        self.tell_main(core, now, purpose, &[("disconnect-vnode", vnode.clone())]);
        core.event(Event::VroomClosed { room: self.room.clone(), vnode: vnode.clone() });
        for w in waiting {
            self.redirect(core, now, w);
        }
        self.audience_changed(core, now);
    }

    /// The connection to a node broke: its visitors are not counted, new ones go elsewhere. Returns how many there were.
    pub(crate) fn node_lost(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) -> u32 {
        let Some(v) = self.vrooms.get_mut(vnode) else { return 0 };
        if !matches!(v.link, Link::Linked) {
            if !matches!(v.link, Link::Away { .. }) {
                for w in self.drop_vroom(core, now, vnode) {
                    self.redirect(core, now, w);
                }
            }
            return 0;
        }
        let lost = v.present();
        v.uncount(core, vnode);
        v.link = Link::Away { told: false };
        // What is due would be said to a connection that does not exist.
        v.publisher = Publisher::default();
        self.tell_all_visitors(core, vnode, false);
        self.audience_changed(core, now);
        lost
    }

    /// The node did not come back in time: the main node is told, so that a later connect is a new one.
    pub(crate) fn node_gone(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) {
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        if v.link != (Link::Away { told: false }) {
            return;
        }
        v.link = Link::Away { told: true };
        v.visitors = 0;
        v.muc.members.clear();
        self.media_node_gone(core, now, vnode);
        let purpose = self.main.purpose(What::Disconnect);
        self.tell_main(core, now, purpose, &[("disconnect-vnode", vnode.clone())]);
    }

    /// The node is connected again.
    pub(crate) fn node_back(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>, resumed: bool) {
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        let Link::Away { told } = v.link else { return };
        if resumed && !told {
            v.link = Link::Linked;
            let visitors = v.visitors;
            if let Some(n) = core.nodes.get_mut(vnode) {
                n.visitors += visitors;
            }
            v.publisher.missed();
            self.tell_all_visitors(core, vnode, true);
            self.audience_changed(core, now);
            return;
        }
        v.visitors = 0;
        v.muc.members.clear();
        self.media_node_unsure(vnode);
        if self.phase != Phase::Started || core.nodes.get(vnode).is_none_or(|n| n.draining) {
            self.vroom_closed(core, now, vnode);
            return;
        }
        if told || self.stage.judge == Judge::Room {
            // A main node that judges seats also repeats the whole handshake on a second connect.
            self.enter_again(core, now, vnode);
            return;
        }
        // To others a second connect means nothing while they believe the first.
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        v.link = Link::Unlinking;
        let purpose = v.muc.purpose(What::Disconnect);
        self.tell_main(core, now, purpose, &[("disconnect-vnode", vnode.clone())]);
    }

    fn enter_again(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) {
        let Some(v) = self.vrooms.get_mut(vnode) else { return };
        let (jid, me) = (v.muc.jid.clone(), v.muc.me.clone());
        v.muc = Muc::enter(core, now, &self.room, Some(vnode.clone()), jid, me);
        v.link = Link::Entering;
    }

    /// The size of the audience changed.
    pub(crate) fn audience_changed(&mut self, core: &mut Core, now: Instant) {
        let count = self.visitors();
        let people = count.saturating_add(self.main.members.len() as u32);
        let interval = publish::interval(people, core.config.notification_interval);
        self.publisher.want(now, count, interval);
        for v in self.vrooms.values_mut().filter(|v| v.link == Link::Linked) {
            // The audience may learn it later: each update of theirs goes to many.
            v.publisher.want(now, count, interval * 2);
        }
    }

    /// Timers of shadow rooms.
    pub(crate) fn tick_vrooms(&mut self, core: &mut Core, now: Instant) {
        let ttl = core.config.vnode_join_latency;
        for (vnode, v) in &mut self.vrooms {
            let expired = v.pending.expire(now, ttl);
            if let Some(n) = core.nodes.get_mut(vnode) {
                n.pending -= expired.min(n.pending);
            }
        }
        let late = |v: &Vroom| v.muc.deadline.is_some_and(|at| at <= now);
        let failed: Vec<_> = self.vrooms.iter().filter(|(_, v)| late(v)).map(|(n, _)| n.clone()).collect();
        for vnode in failed {
            self.vroom_failed(core, now, &vnode, "the node did not answer".into());
        }
        let due: Vec<_> = self.vrooms.iter().filter(|(_, v)| v.publisher.is_due(now)).map(|(n, _)| n.clone()).collect();
        for vnode in due {
            self.publish_vroom(core, now, &vnode);
        }
    }
}
