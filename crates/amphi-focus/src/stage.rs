//! Seats on stage. The main room is the judge when it speaks `urn:amphi:seats:0`: the focus asks for a seat and waits for
//! the verdict. A stock room answers the first question with an error; then the focus judges by itself, from the members
//! it sees and the seats it has given away.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use amphi_stanza::{Jid, Stanza};

use crate::Event;
use crate::admission::{WhenFull, Why};
use crate::conference::{Conference, Phase};
use crate::core::{Core, Waiting};
use crate::iq::{Answered, What};
use crate::seats::Ledger;

const SEATS: &str = "urn:amphi:seats:0";
/// Reservations in one stanza.
const BATCH: usize = 64;

/// Who says whether a seat is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Judge {
    #[default]
    Focus,
    Room,
}

/// A reservation as the room is asked for it.
#[derive(Debug)]
struct Question {
    id: u64,
    machine: Option<String>,
    jid: Option<Jid>,
}

#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) judge: Judge,
    pub(crate) ledger: Ledger,
    /// Requests that wait for the room's verdict, by reservation.
    asked: BTreeMap<u64, Vec<(Waiting, WhenFull)>>,
    questions: Vec<Question>,
    cancels: Vec<u64>,
    /// The limit that the room knows; the inner `None` is `none`.
    limit_told: Option<Option<u32>>,
    /// Stanzas that the room has not answered yet. Further questions wait for the answer, so a storm is asked in batches.
    in_flight: u32,
    /// Seats beyond the limit, given to listed users.
    extra: u32,
}

impl Stage {
    /// The answer to the first question: a result means that the room judges.
    pub(crate) fn probed(&mut self, result: Option<&Stanza>) {
        let speaks = result.is_some_and(|r| r.child("seats", SEATS).is_some());
        self.judge = if speaks { Judge::Room } else { Judge::Focus };
    }

    /// Requests that wait for a verdict; taken away when the conference ends.
    pub(crate) fn take_asked(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.asked).into_values().flatten().map(|(w, _)| w).collect()
    }

    /// A listed user's further seat is not needed any more.
    pub(crate) fn give_back_extra(&mut self) {
        self.extra = self.extra.saturating_sub(1);
    }
}

impl Conference {
    pub(crate) fn probe_seats(&mut self, core: &mut Core, now: Instant) {
        let purpose = self.main.purpose(What::SeatsProbe);
        core.ask(now, &self.main.node, &self.main.jid, "get", purpose, |w| {
            w.empty("seats", SEATS);
        });
    }

    /// People on stage.
    pub(crate) fn users(&self) -> u32 {
        self.main.members.values().filter(|m| m.is_user()).count() as u32
    }

    /// Seats that are taken, reserved or kept.
    pub(crate) fn seats_used(&self) -> u32 {
        self.users() + self.stage.ledger.outstanding()
    }

    /// Seats there are; `None` when nobody can be sent to an audience.
    pub(crate) fn seat_limit(&self, core: &Core) -> Option<u32> {
        let redirects = core.visitors_possible() && self.allows_visitors(core) && core.nodes.iter().next().is_some();
        redirects.then(|| self.metadata.participants_soft_limit.unwrap_or(core.config.max_participants))
    }

    /// A client that belongs on stage, given a seat.
    pub(crate) fn send_to_stage(&mut self, core: &mut Core, now: Instant, w: Waiting, full: WhenFull) {
        let Some(limit) = self.seat_limit(core) else {
            self.admit(core, now, w);
            return;
        };
        // Recorders and the like need no seat.
        if w.request.from.as_ref().is_some_and(|f| core.config.trusted_domains.iter().any(|d| d == f.domain())) {
            self.admit(core, now, w);
            return;
        }
        match self.stage.judge {
            Judge::Focus => self.judge(core, now, w, full, limit),
            Judge::Room => self.question(core, now, w, full),
        }
    }

    /// Who goes to the audience does not need the seat that was kept for it.
    pub(crate) fn give_up_seat(&mut self, w: &Waiting) {
        if let Some(id) = self.stage.ledger.of(&w.request.identity()).map(|r| r.id)
            && !self.stage.asked.contains_key(&id)
        {
            self.stage.ledger.cancel(id);
            if self.stage.judge == Judge::Room {
                self.stage.cancels.push(id);
            }
        }
    }

    fn refuse(&mut self, core: &mut Core, now: Instant, w: Waiting, full: WhenFull) {
        match full {
            WhenFull::Audience | WhenFull::Extra => self.send_to_audience(core, now, w, Why::StageFull),
            WhenFull::Stage => self.admit(core, now, w),
        }
    }

    fn peer_exhausted(&self, core: &Core, w: &Waiting) -> bool {
        let limits = &core.config.limits;
        let max = limits.seats_per_peer;
        max > 0 && limits.one_peer(w.peer).is_some_and(|p| self.stage.ledger.of_peer(p) >= max)
    }

    /// The focus judges.
    fn judge(&mut self, core: &mut Core, now: Instant, w: Waiting, full: WhenFull, limit: u32) {
        let identity = w.request.identity();
        let expires = now + core.config.seat_timeout;
        if let Some(r) = self.stage.ledger.of(&identity) {
            r.expires = expires;
            self.admit(core, now, w);
            return;
        }
        if self.peer_exhausted(core, &w) {
            self.refuse(core, now, w, full);
            return;
        }
        let returning = self.stage.ledger.remembers(&identity, now, core.config.stage_memory);
        // The same person may still sit there, from before the page was loaded again.
        let replaces = self
            .main
            .members
            .iter()
            .find(|(_, m)| m.known && m.identity.iter().any(|i| identity.contains(i)))
            .map(|(nick, _)| nick.clone())
            .filter(|nick| returning && !self.stage.ledger.is_replaced(nick));
        let used = self.seats_used();
        let kept = returning && replaces.is_none() && self.stage.ledger.kept() > 0 && used - 1 < limit;
        if kept {
            self.stage.ledger.use_kept();
        }
        if kept || replaces.is_some() || used < limit || full == WhenFull::Extra {
            self.stage.ledger.reserve(expires, identity, w.request.from.clone(), w.peer, replaces);
            self.admit(core, now, w);
        } else {
            self.refuse(core, now, w, full);
        }
    }

    /// The room judges: notes the question. It is sent with all others of the moment.
    fn question(&mut self, core: &mut Core, now: Instant, w: Waiting, full: WhenFull) {
        let identity = w.request.identity();
        let expires = now + core.config.seat_timeout;
        let exhausted = self.peer_exhausted(core, &w);
        let known = self.stage.ledger.of(&identity).map(|r| {
            r.expires = expires;
            r.id
        });
        if known.is_none() && exhausted {
            self.refuse(core, now, w, full);
            return;
        }
        let id =
            known.unwrap_or_else(|| self.stage.ledger.reserve(expires, identity, w.request.from.clone(), w.peer, None));
        let waiting: usize = self.stage.asked.values().map(Vec::len).sum();
        if waiting >= core.config.limits.waiting_requests {
            core.defer(w);
            return;
        }
        if !self.stage.asked.contains_key(&id) {
            let machine = w.request.machine_uid.clone();
            self.stage.questions.push(Question { id, machine, jid: w.request.from.clone() });
        }
        self.stage.asked.entry(id).or_default().push((w, full));
    }

    /// Sends what the room must know by now.
    pub(crate) fn flush_seats(&mut self, core: &mut Core, now: Instant) {
        let quiet = self.stage.judge != Judge::Room || self.phase != Phase::Started || !core.main.connected;
        if quiet || self.stage.in_flight > 0 {
            return;
        }
        let limit = self.seat_limit(core).map(|l| l.saturating_add(self.stage.extra));
        let changed = self.stage.limit_told != Some(limit);
        if !changed && self.stage.questions.is_empty() && self.stage.cancels.is_empty() {
            return;
        }
        self.stage.limit_told = Some(limit);
        let mut tell_limit = changed;
        loop {
            let n = self.stage.questions.len().min(BATCH);
            let questions: Vec<_> = self.stage.questions.drain(..n).collect();
            let n = self.stage.cancels.len().min(BATCH);
            let cancels: Vec<_> = self.stage.cancels.drain(..n).collect();
            if !tell_limit && questions.is_empty() && cancels.is_empty() {
                break;
            }
            let ids = questions.iter().map(|q| q.id).collect();
            let purpose = self.main.purpose(What::Seats(ids));
            core.ask(now, &self.main.node, &self.main.jid, "set", purpose, |w| {
                w.open_ns("seats", SEATS);
                if tell_limit {
                    match limit {
                        Some(l) => w.attr("limit", l),
                        None => w.attr("limit", "none"),
                    };
                }
                for q in &questions {
                    w.open("reserve").attr("id", format_args!("q{}", q.id));
                    w.attr_opt("machine", q.machine.as_ref()).attr_opt("jid", q.jid.as_ref()).close();
                }
                for id in &cancels {
                    w.open("cancel").attr("id", format_args!("q{id}")).close();
                }
                w.close();
            });
            self.stage.in_flight += 1;
            tell_limit = false;
        }
    }

    /// The room's verdicts.
    pub(crate) fn on_seats(&mut self, core: &mut Core, now: Instant, ids: Vec<u64>, answered: Answered) {
        self.stage.in_flight = self.stage.in_flight.saturating_sub(1);
        let mut verdicts: HashMap<u64, bool> = HashMap::new();
        match &answered {
            Ok(stanza) => {
                for e in stanza.child("seats", SEATS).iter().flat_map(|s| s.children()) {
                    let id = e.attr("id").and_then(|id| id.strip_prefix('q').and_then(|id| id.parse().ok()));
                    if let Some(id) = id {
                        verdicts.insert(id, e.name() == "granted");
                    }
                }
            }
            Err(why) => core.event(Event::IqFailed { what: "seats", why: why.clone() }),
        }
        for id in ids {
            let Some(list) = self.stage.asked.remove(&id) else { continue };
            // A room that fails to answer does not keep anybody out: it still judges the join itself.
            let granted = match (&answered, verdicts.get(&id)) {
                (_, Some(verdict)) => *verdict,
                (Ok(_), None) => false,
                (Err(_), None) => self.seat_limit(core).is_none_or(|limit| self.seats_used() <= limit),
            };
            if granted {
                for (w, _) in list {
                    self.admit(core, now, w);
                }
                continue;
            }
            let more =
                list.iter().any(|(_, full)| *full == WhenFull::Extra) && self.stage.extra < self.metadata.listed();
            if more {
                // Listed users come in although the stage is full. Their number bounds how many more that can be.
                self.stage.extra += 1;
                let (jid, machine) =
                    list.first().map_or((None, None), |(w, _)| (w.request.from.clone(), w.request.machine_uid.clone()));
                self.stage.questions.push(Question { id, machine, jid });
                self.stage.asked.insert(id, list);
                continue;
            }
            self.stage.ledger.cancel(id);
            for (w, full) in list {
                self.refuse(core, now, w, full);
            }
        }
    }
}
