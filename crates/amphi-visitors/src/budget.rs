//! How much the audience may write: a token bucket per person and one per room. Thousands of visitors share one chat that
//! everybody on stage reads, so both are needed. Called by a visitor node's room before it relays anything.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use amphi_stanza::{Condition, ErrorType, FullJid, StanzaError};

/// Limits of audience chat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetLimits {
    /// Messages one person may send at once. Default 5.
    pub person_burst: u32,
    /// Time in which one person earns another message. Default 2 s.
    pub person_every: Duration,
    /// Messages the audience of one room may send at once. Default 50.
    pub room_burst: u32,
    /// Time in which the audience earns another message. Default 50 ms.
    pub room_every: Duration,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self {
            person_burst: 5,
            person_every: Duration::from_secs(2),
            room_burst: 50,
            room_every: Duration::from_millis(50),
        }
    }
}

/// A token bucket, kept as the time at which it will be full again (generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// How long to wait until there is a token; `None` if there is one now.
    fn wait(self, now: Instant, burst: u32, every: Duration) -> Option<Duration> {
        let debt = self.full_at.map_or(Duration::ZERO, |t| t.saturating_duration_since(now));
        let most = every.saturating_mul(burst.saturating_sub(1));
        (debt > most).then(|| debt - most)
    }

    fn take(&mut self, now: Instant, every: Duration) {
        self.full_at = Some(self.full_at.map_or(now, |t| t.max(now)) + every);
    }

    fn full(self, now: Instant) -> bool {
        self.full_at.is_none_or(|t| t <= now)
    }
}

/// What is left of the audience's budget in one room.
#[derive(Debug)]
pub struct AudienceBudget {
    limits: BudgetLimits,
    room: Bucket,
    /// Only people whose bucket is not full: whoever is silent costs nothing.
    people: HashMap<FullJid, Bucket>,
    sweep_at: usize,
}

impl AudienceBudget {
    /// A full budget.
    pub fn new(limits: BudgetLimits) -> Self {
        Self { limits, room: Bucket::default(), people: HashMap::new(), sweep_at: 64 }
    }

    /// Takes one message from the budgets of `who` and of the room.
    ///
    /// # Errors
    /// If one of them is used up; nothing is taken then.
    pub fn take(&mut self, now: Instant, who: &FullJid) -> Result<(), StanzaError> {
        let l = self.limits;
        let mut person = self.people.get(who).copied().unwrap_or_default();
        if person.wait(now, l.person_burst, l.person_every).is_some() {
            return Err(refused("You are sending messages too fast"));
        }
        if self.room.wait(now, l.room_burst, l.room_every).is_some() {
            return Err(refused("The audience is sending messages too fast, try again shortly"));
        }
        self.room.take(now, l.room_every);
        person.take(now, l.person_every);
        if self.people.len() >= self.sweep_at {
            self.people.retain(|_, b| !b.full(now));
            self.sweep_at = (self.people.len() * 2).max(64);
        }
        self.people.insert(who.clone(), person);
        Ok(())
    }

    /// Forgets somebody who has left. Coming back at once under another address is bounded by the room's budget.
    pub fn forget(&mut self, who: &FullJid) {
        self.people.remove(who);
    }
}

fn refused(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Wait, Condition::PolicyViolation).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(n: usize) -> FullJid {
        FullJid::parse(&format!("u{n}@v1.meet.jitsi/r")).unwrap()
    }

    #[test]
    fn a_person_has_a_burst_and_then_earns_one_message_per_period() {
        let t0 = Instant::now();
        let mut b = AudienceBudget::new(BudgetLimits::default());
        for _ in 0..5 {
            b.take(t0, &jid(1)).unwrap();
        }
        assert_eq!(b.take(t0, &jid(1)).unwrap_err().condition, Condition::PolicyViolation);
        b.take(t0, &jid(2)).unwrap();
        b.take(t0 + Duration::from_secs(2), &jid(1)).unwrap();
        b.take(t0 + Duration::from_secs(2), &jid(1)).unwrap_err();
    }

    #[test]
    fn the_room_bounds_what_many_people_send_together_and_a_refusal_costs_nothing() {
        let t0 = Instant::now();
        let mut b = AudienceBudget::new(BudgetLimits::default());
        let sent = (0..200).filter(|n| b.take(t0, &jid(*n)).is_ok()).count();
        assert_eq!(sent, 50);
        let later = t0 + Duration::from_millis(100);
        let sent = (100..200).filter(|n| b.take(later, &jid(*n)).is_ok()).count();
        assert_eq!(sent, 2);
    }

    #[test]
    fn people_who_are_silent_again_are_forgotten() {
        let mut now = Instant::now();
        let mut b = AudienceBudget::new(BudgetLimits::default());
        for n in 0..10_000 {
            now += Duration::from_millis(50);
            b.take(now, &jid(n)).unwrap();
        }
        assert!(b.people.len() <= 128, "{}", b.people.len());
    }
}
