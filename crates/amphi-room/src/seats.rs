//! Seats on stage: how the focus and a room agree on who may still come in, so that nobody gets on stage without one.
//!
//! The room is the only judge: the focus asks, the room counts. A room enforces nothing until the focus has spoken this
//! protocol to it, so a stock focus never notices. The sender must be an administrator who is an occupant of the room;
//! anybody else gets `auth/forbidden`. The state dies with the room.
//!
//! # Wire form
//!
//! One IQ to the bare room address (virtual form for a local focus). `limit` is the number of seats, without the focus and
//! other administrators; it is remembered, and an IQ without it leaves it as it is. `limit='none'` switches enforcement
//! off and forgets all reservations. Any number of `reserve` and `cancel` children, at most 64 each.
//!
//! ```xml
//! <iq type='set' to='demo@conference.meet.example' id='s1'>
//!   <seats xmlns='urn:amphi:seats:0' limit='50'>
//!     <reserve id='q17' machine='9d77ac5a'/>          <!-- HTTP request: machine uid, if the request had one -->
//!     <reserve id='q18' jid='9f3c1a7e-...@meet.example/Zk1'/>   <!-- IQ request: the requester's address -->
//!     <cancel id='q9'/>
//!   </seats>
//! </iq>
//! <iq type='result' from='demo@conference.meet.example' id='s1'>
//!   <seats xmlns='urn:amphi:seats:0' limit='50' occupied='48' reserved='2'>
//!     <granted id='q17' ttl='60'/>
//!     <refused id='q18'/>
//!   </seats>
//! </iq>
//! ```
//!
//! `get` with an empty `seats` element answers the counters alone. `occupied` counts people on stage (administrators,
//! recorders and other ignored addresses are not counted); `reserved` counts live reservations of both kinds below.
//!
//! # Rules
//!
//! 1. `reserve` is granted when `occupied + reserved < limit`, or when the requester (`jid`, compared bare, or `machine`)
//!    has a *kept* seat, which then becomes this reservation. `id` is chosen by the focus; a repeated `id` renews the
//!    reservation. It lives [`SeatLimits::reservation`] (60 s), or until it is taken or cancelled.
//! 2. A reservation with `jid` can be taken by that bare address alone. One without is counted, not bound, because a request
//!    over HTTP has no address yet: the next joiner who has nothing better takes it.
//! 3. A join to the stage takes, in this order: a reservation with its address; its own kept seat; the oldest reservation of
//!    its machine; the oldest unbound reservation; a free seat (`occupied + reserved < limit`), unless the room has an
//!    audience: then coming on stage without a reservation is for those who were promoted. With none of these it is answered
//!    `cancel/service-unavailable`, upon which a client comes back as a visitor (`spec/client.md` 10.3).
//! 4. Administrators, addresses in the ignore lists, and visitors whom a moderator (or the automatic rule) has promoted
//!    come in without asking. Promoted ones are counted.
//! 5. Who leaves the stage keeps the seat for [`SeatLimits::kept`] (60 s), recognised by bare address or by the `billingid` of
//!    its join presence, so that a page reload does not end in the audience. Being kicked keeps nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use amphi_stanza::{Element, Jid};

use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::leave::Leaving;
use crate::occupant::{Occupant, Peer};
use crate::room::Room;

/// Namespace of the protocol.
pub const NS: &str = "urn:amphi:seats:0";

/// `reserve` and `cancel` children of one request.
const MAX_CHILDREN: usize = 64;
/// Bytes of an id, address or machine.
const MAX_TEXT: usize = 1024;

/// Bounds of seats.
#[derive(Clone, Copy, Debug)]
pub struct SeatLimits {
    /// How long a reservation lives.
    pub reservation: Duration,
    /// How long a seat is kept for who left it.
    pub kept: Duration,
    /// Reservations of a room, kept seats among them.
    pub most: usize,
}

impl Default for SeatLimits {
    fn default() -> Self {
        Self { reservation: Duration::from_secs(60), kept: Duration::from_secs(60), most: 10_000 }
    }
}

/// A seat that waits for somebody.
#[derive(Clone, Debug)]
struct Reservation {
    /// The focus' name for it; `None` for a kept seat.
    id: Option<String>,
    /// Bare address that it is for.
    jid: Option<String>,
    machine: Option<String>,
    until: Instant,
}

/// The seats of one room.
#[derive(Debug)]
pub(crate) struct Seats {
    limit: u32,
    waiting: VecDeque<Reservation>,
}

/// On what somebody comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Needs none, or nothing is enforced.
    Nothing,
    /// Takes the reservation at this position.
    Reservation(usize),
}

impl Seats {
    fn expire(&mut self, now: Instant) {
        self.waiting.retain(|r| r.until > now);
    }

    /// The reservation that a joiner takes: bound to it, kept for it, or the oldest for anybody.
    fn for_joiner(&self, bare: &str, machine: Option<&str>) -> Option<usize> {
        let is_bound = |r: &Reservation| r.id.is_some() && r.jid.as_deref() == Some(bare);
        let is_kept = |r: &Reservation| {
            r.id.is_none() && (r.jid.as_deref() == Some(bare) || (machine.is_some() && r.machine.as_deref() == machine))
        };
        let is_free = |r: &Reservation| r.id.is_some() && r.jid.is_none();
        // The join presence of a client that asked over HTTP names the machine of its request.
        let is_same = |r: &Reservation| is_free(r) && machine.is_some() && r.machine.as_deref() == machine;
        // A seat that is reserved for a machine is not for one that says it is another.
        let is_open = |r: &Reservation| is_free(r) && (r.machine.is_none() || machine.is_none());
        let at = |f: &dyn Fn(&Reservation) -> bool| self.waiting.iter().position(f);
        at(&is_bound).or_else(|| at(&is_kept)).or_else(|| at(&is_same)).or_else(|| at(&is_open))
    }
}

impl Room {
    /// Rule 3: what a joiner may sit on.
    pub(crate) fn claim_seat(
        &mut self,
        cx: &Cx<'_>,
        peer: &Peer,
        machine: Option<&str>,
        needed: bool,
        promoted: bool,
    ) -> Result<Claim, RoomError> {
        if !needed || self.seats.is_none() {
            return Ok(Claim::Nothing);
        }
        let occupied = self.roster.seated();
        // The older connection of the same account gives its seat.
        let gives_way = self.roster.stage().any(|o| o.traits.seated && o.peer.bare() == peer.bare());
        let Some(seats) = &mut self.seats else { return Ok(Claim::Nothing) };
        seats.expire(cx.now);
        if let Some(i) = seats.for_joiner(peer.bare(), machine) {
            return Ok(Claim::Reservation(i));
        }
        let free = occupied + seats.waiting.len() < seats.limit as usize;
        if free || promoted || gives_way { Ok(Claim::Nothing) } else { Err(RoomError::Full) }
    }

    /// Whether a seat waits for this joiner: the focus wants it on stage, whatever else is going on.
    pub(crate) fn is_expected(&mut self, cx: &Cx<'_>, peer: &Peer, machine: Option<&str>) -> bool {
        let Some(seats) = &mut self.seats else { return false };
        seats.expire(cx.now);
        seats.for_joiner(peer.bare(), machine).is_some()
    }

    /// The joiner sits down.
    pub(crate) fn take_seat(&mut self, claim: &Claim) {
        if let (Claim::Reservation(i), Some(seats)) = (claim, &mut self.seats) {
            seats.waiting.remove(*i);
        }
    }

    /// Rule 5: who leaves keeps the seat for a while.
    pub(crate) fn keep_seat(&mut self, cx: &Cx<'_>, o: &Occupant, leaving: Leaving) {
        let limits = cx.cfg.limits.seats;
        let Some(seats) = self.seats.as_mut() else { return };
        if !o.traits.seated || !matches!(leaving, Leaving::Own | Leaving::Lost) {
            return;
        }
        seats.expire(cx.now);
        if seats.waiting.len() < limits.most {
            seats.waiting.push_back(Reservation {
                id: None,
                jid: Some(o.peer.bare().to_owned()),
                machine: o.machine.as_deref().map(str::to_owned),
                until: cx.now + limits.kept,
            });
        }
    }

    pub(crate) fn seats_iq(
        &mut self,
        cx: &mut Cx<'_>,
        rq: &Request<'_>,
        e: Element<'_>,
        set: bool,
    ) -> Result<(), RoomError> {
        if !rq.peer.is_admin(cx.cfg) || self.sender(rq).is_none() {
            return Err(RoomError::Forbidden);
        }
        let mut answers = Vec::new();
        if set {
            self.set_limit(e)?;
            answers = self.reserve_and_cancel(cx, e)?;
        }
        let occupied = self.roster.seated();
        if let Some(s) = &mut self.seats {
            s.expire(cx.now);
        }
        let seats = self.seats.as_ref();
        let ttl = cx.cfg.limits.seats.reservation.as_secs();
        cx.result(rq, |w| {
            w.open_ns("seats", NS).attr("occupied", occupied);
            match seats {
                Some(s) => w.attr("limit", s.limit).attr("reserved", s.waiting.len()),
                None => w.attr("limit", "none").attr("reserved", 0),
            };
            for (id, granted) in &answers {
                w.open(if *granted { "granted" } else { "refused" }).attr("id", id);
                if *granted {
                    w.attr("ttl", ttl);
                }
                w.close();
            }
            w.close();
        });
        Ok(())
    }

    fn set_limit(&mut self, e: Element<'_>) -> Result<(), RoomError> {
        match e.attr("limit").as_deref() {
            None => {}
            Some("none") => self.seats = None,
            Some(n) => {
                let limit = n.parse().map_err(|_| RoomError::BadRequest("limit is a number or none"))?;
                match &mut self.seats {
                    Some(s) => s.limit = limit,
                    None => self.seats = Some(Seats { limit, waiting: VecDeque::new() }),
                }
            }
        }
        Ok(())
    }

    fn reserve_and_cancel(&mut self, cx: &Cx<'_>, e: Element<'_>) -> Result<Vec<(String, bool)>, RoomError> {
        let occupied = self.roster.seated();
        let limits = cx.cfg.limits.seats;
        if e.children().count() > 2 * MAX_CHILDREN {
            return Err(RoomError::TooMuch("Too many reservations in one request"));
        }
        let mut answers = Vec::new();
        for c in e.children().filter(|c| c.ns() == NS) {
            let Some(id) = c.attr("id").map(std::borrow::Cow::into_owned) else {
                return Err(RoomError::BadRequest("A reservation has an id"));
            };
            let jid = c.attr("jid").map(|j| Jid::parse(&j)).transpose();
            let jid = jid.map_err(|_| RoomError::BadRequest("The reservation's address is none"))?;
            let jid = jid.map(|j| j.bare_str().to_owned());
            let machine = c.attr("machine").filter(|m| !m.is_empty()).map(std::borrow::Cow::into_owned);
            if id.len() > MAX_TEXT || machine.as_ref().is_some_and(|m| m.len() > MAX_TEXT) {
                return Err(RoomError::BadRequest("The reservation's id is too long"));
            }
            let Some(seats) = self.seats.as_mut() else {
                // Nothing is enforced: there is a seat for everybody.
                if c.name() == "reserve" {
                    answers.push((id, true));
                }
                continue;
            };
            seats.expire(cx.now);
            match c.name() {
                "cancel" => seats.waiting.retain(|r| r.id.as_deref() != Some(&id)),
                "reserve" => {
                    let granted = seats.reserve(&id, jid, machine, occupied, cx.now, &limits);
                    answers.push((id, granted));
                }
                _ => return Err(RoomError::BadRequest("Seats are reserved or cancelled")),
            }
        }
        Ok(answers)
    }
}

impl Seats {
    /// Rule 1.
    fn reserve(
        &mut self,
        id: &str,
        jid: Option<String>,
        machine: Option<String>,
        occupied: usize,
        now: Instant,
        limits: &SeatLimits,
    ) -> bool {
        let until = now + limits.reservation;
        let same = |r: &Reservation| r.id.as_deref() == Some(id);
        let kept = |r: &Reservation| {
            r.id.is_none() && ((jid.is_some() && r.jid == jid) || (machine.is_some() && r.machine == machine))
        };
        let at = self.waiting.iter().position(same).or_else(|| self.waiting.iter().position(kept));
        if let Some(r) = at.and_then(|i| self.waiting.get_mut(i)) {
            *r = Reservation { id: Some(id.to_owned()), jid, machine, until };
            return true;
        }
        let room = occupied + self.waiting.len() < self.limit as usize && self.waiting.len() < limits.most;
        if room {
            self.waiting.push_back(Reservation { id: Some(id.to_owned()), jid, machine, until });
        }
        room
    }
}
