//! Members of the main room, timers, and the end of a conference (`spec/focus.md` 4.1).

use std::time::Instant;

use crate::conference::{Conference, Phase};
use crate::core::Core;
use crate::member::Member;
use crate::muc;
use crate::{EndReason, Event, NodeId, RequestError};

impl Conference {
    /// Somebody is in the main room.
    pub(crate) fn member_joined(&mut self, core: &mut Core, now: Instant, nick: &str) {
        let Some(m) = self.main.members.get_mut(nick) else { return };
        self.start_deadline = None;
        self.empty_deadline = None;
        let taken = self.stage.ledger.take(m.jid.as_ref(), !m.is_user());
        if m.is_user() {
            m.known = taken.as_ref().is_some_and(|r| r.jid.is_some());
            let mut identity: Vec<Box<str>> = taken.map_or_else(Vec::new, |r| r.identity);
            if let Some(jid) = &m.jid {
                let own: Box<str> = format!("j{}", jid.bare_str()).into();
                if !identity.contains(&own) {
                    identity.push(own);
                }
            }
            self.stage.ledger.remember(&identity, now, core.config.limits.recent_members);
            m.identity = identity.into();
        }
        if !self.health {
            core.metrics.participants += 1;
            let event = self.joined_event(&self.main.node, self.main.occupant(nick));
            core.event(event);
        }
        self.elect_owner(core, now);
        self.audience_changed(core, now);
        self.media_joined(core, now, &NodeId::Main, nick);
    }

    /// Somebody left the main room.
    pub(crate) fn member_left(
        &mut self,
        core: &mut Core,
        now: Instant,
        nick: &str,
        member: Member,
        switch_room: bool,
        kicked: bool,
    ) {
        if member.is_user() {
            self.stage.give_back_extra();
            if kicked {
                self.stage.ledger.forget(&member.identity);
                self.stage.ledger.left(nick, &member.identity, None);
            } else {
                self.stage.ledger.remember(&member.identity, now, core.config.limits.recent_members);
                let hold = (!switch_room).then(|| now + core.config.return_hold);
                self.stage.ledger.left(nick, &member.identity, hold);
            }
        }
        if !self.health {
            let event = self.left_event(&self.main.node, self.main.occupant(nick));
            core.event(event);
        }
        self.media_left(core, now, &NodeId::Main, nick);
        self.owner.left(nick);
        self.elect_owner(core, now);
        self.audience_changed(core, now);
        if self.main.members.is_empty() {
            let wait = if switch_room { core.config.initial_timeout } else { core.config.empty_grace };
            self.empty_deadline = Some(now + wait);
        }
    }

    /// When [`Conference::tick`] is wanted.
    pub(crate) fn deadline(&self, core: &Core) -> Option<Instant> {
        let phase = match self.phase {
            Phase::AwaitingMetadata(at) | Phase::Stopping(at) => Some(at),
            Phase::Joining | Phase::Probing | Phase::Started | Phase::Done => None,
        };
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return phase;
        }
        let ttl = core.config.vnode_join_latency;
        self.vrooms
            .values()
            .flat_map(|v| [v.muc.deadline, v.publisher.deadline(), v.pending.deadline(ttl)])
            .chain([phase, self.main.deadline, self.start_deadline, self.empty_deadline])
            .chain([self.stage.ledger.deadline(), self.publisher.deadline(), self.media.deadline()])
            .flatten()
            .min()
    }

    pub(crate) fn tick(&mut self, core: &mut Core, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.phase {
            Phase::Done => return,
            Phase::Stopping(at) => {
                if at <= now {
                    self.finish(core, now);
                }
                return;
            }
            Phase::AwaitingMetadata(at) if at <= now => self.start(core, now),
            _ => {}
        }
        if self.main.phase == muc::Phase::Entering && due(self.main.deadline) {
            self.stop(core, now, EndReason::JoinFailed);
            return;
        }
        if self.phase == Phase::Started && due(self.start_deadline) {
            self.stop(core, now, EndReason::NobodyJoined);
            return;
        }
        if self.phase != Phase::Started && due(self.start_deadline) {
            // The entry has deadlines of its own.
            self.start_deadline = Some(now + core.config.initial_timeout);
        }
        if due(self.empty_deadline) {
            if core.breakouts.get(&self.room).is_some_and(|n| *n > 0) {
                self.empty_deadline = Some(now + core.config.empty_grace.max(std::time::Duration::from_secs(1)));
            } else {
                self.stop(core, now, EndReason::Empty);
                return;
            }
        }
        core.metrics.seats_expired += self.stage.ledger.expire(now, core.config.stage_memory);
        self.tick_vrooms(core, now);
        self.media_tick(core, now);
        if self.publisher.is_due(now) {
            if self.phase == Phase::Started {
                self.publish_main(core, now);
            } else {
                let count = self.visitors();
                self.publisher.sent(now, count);
            }
        }
    }

    /// What follows from everything that just happened. Called once after each input.
    pub(crate) fn settle(&mut self, core: &mut Core, now: Instant) {
        if self.phase != Phase::Started {
            return;
        }
        self.prepare_ahead(core, now);
        let abandoned = self.main.members.is_empty()
            && self.start_deadline.is_none()
            && self.empty_deadline.is_none()
            && self.visitors() == 0;
        if abandoned {
            // Only visitors had come, and they are gone.
            self.start_deadline = Some(now + core.config.initial_timeout);
        }
        self.flush_seats(core, now);
    }

    /// Ends the conference. Whoever waits is answered.
    pub(crate) fn stop(&mut self, core: &mut Core, now: Instant, reason: EndReason) {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return;
        }
        self.end_reason = reason;
        if matches!(reason, EndReason::RoomGone | EndReason::Operator) {
            let (memory, most) = (core.config.ended_memory, core.config.limits.ended_meetings);
            core.ended.remember(&self.meeting_id, now, memory, most);
        }
        self.media_stop(core, now);
        let linked = self.phase == Phase::Started && self.disconnect_all(core, now);
        self.phase = Phase::Stopping(now + core.config.reply_timeout);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend(self.stage.take_asked());
        for v in self.vrooms.values_mut() {
            waiting.append(&mut v.waiting);
        }
        for w in waiting {
            if reason == EndReason::JoinFailed && core.main.connected {
                core.reply(w.reply, Err(RequestError::RoomUnavailable));
            } else {
                core.defer(w);
            }
        }
        if !linked {
            self.finish(core, now);
        }
    }

    /// Leaves all rooms. The conference is removed afterwards.
    pub(crate) fn finish(&mut self, core: &mut Core, now: Instant) {
        self.phase = Phase::Done;
        let vnodes: Vec<_> = self.vrooms.keys().cloned().collect();
        for vnode in vnodes {
            self.drop_vroom(core, now, &vnode);
        }
        self.main.leave(core);
        if let Some(main) = &self.breakout_main
            && let Some(n) = core.breakouts.get_mut(main)
        {
            *n -= 1;
            if *n == 0 {
                core.breakouts.remove(main);
            }
        }
        core.auth.room_ended(&self.room);
        if !self.health {
            core.metrics.conferences_ended += 1;
            core.event(Event::ConferenceEnded { room: self.room.clone(), reason: self.end_reason });
        }
    }
}
