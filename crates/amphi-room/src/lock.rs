//! The focus lock (`spec/signaling.md` 3.4): nobody enters before the focus has, or, on a visitor node, before the main node
//! has sent everything that a visitor must find. Until then joins wait in order.

use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::room::{Room, RoomKind};
use crate::waiting::Join;

impl Room {
    /// Puts a join in the queue of the lock.
    pub(crate) fn wait_for_unlock(&mut self, cx: &mut Cx<'_>, join: Join) -> Result<(), RoomError> {
        if self.lock_queue.len() >= cx.cfg.limits.lock_queue && !self.lock_queue.has(&join.peer.jid) {
            return Err(RoomError::QueueFull);
        }
        cx.note_member(&join.peer, &self.real);
        self.lock_queue.push(join);
        Ok(())
    }

    /// Opens the room for good. Everybody who waited goes through all the rules again.
    pub(crate) fn unlock(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.locked, false) {
            return;
        }
        // The stage first, so that whoever waited in the audience finds it complete; otherwise in order of arrival.
        let mut waiting = self.lock_queue.take_all();
        if self.kind == RoomKind::Shadow {
            waiting.sort_by_key(|j| j.peer.is_local());
        }
        for join in waiting {
            if self.destroyed {
                self.turn_away(cx, &join, &RoomError::CreationRestricted);
            } else {
                self.admit(cx, join);
            }
        }
    }

    /// Somebody who waits leaves.
    pub(crate) fn stop_waiting(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let lock = self.lock_queue.remove(&rq.peer.jid);
        let rate = self.rate_queue.remove(&rq.peer.jid);
        if let Some(join) = lock.or(rate) {
            cx.forget_member(rq.peer, &self.real);
            self.confirm_absence(cx, rq.peer, &join.nick);
        }
    }

    /// Everybody who still waits when the room ends is told to ask the focus again.
    pub(crate) fn turn_all_away(&mut self, cx: &mut Cx<'_>) {
        for join in self.lock_queue.take_all().into_iter().chain(self.rate_queue.take_all()) {
            self.turn_away(cx, &join, &RoomError::CreationRestricted);
        }
    }
}
