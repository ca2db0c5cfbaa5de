//! The line of raised hands, as those in it see it: each is told its place when that changes, together with others and not
//! more often than needed. Only nodes of ours pass it on.

use std::collections::HashMap;
use std::time::Instant;

use super::node::Kind;
use super::{Action, MainLinks};
use crate::wire::{Payload, Places, VisitorsIq, set};

/// What was told of the line.
#[derive(Default)]
pub(super) struct Line {
    told: HashMap<String, u64>,
    /// When a change may be told.
    free: Option<Instant>,
    /// When one is going to be.
    pub(super) due: Option<Instant>,
}

impl MainLinks {
    /// The line may have changed: tells it now, or when it may be told.
    pub(super) fn line_changed(&mut self, now: Instant, out: &mut Vec<Action>) {
        match self.places.free.filter(|t| *t > now) {
            Some(t) => self.places.due = Some(t),
            None => self.tell_places(now, out),
        }
    }

    pub(super) fn tell_places(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.places.due = None;
        let limits = &self.config.promotion;
        let mut line = HashMap::new();
        let mut news: Vec<(String, Places)> = Vec::new();
        let knows = |host: &str| self.node_by_host(host).is_some_and(|n| n.kind == Kind::Ours);
        for (p, n) in self.promotions.pending().take(limits.places).zip(1u64..).filter(|(p, _)| knows(&p.node)) {
            if self.places.told.get(&p.visitor) != Some(&n) {
                match news.iter_mut().find(|(host, _)| *host == p.node) {
                    Some((_, places)) => places.list.push((p.visitor.clone(), n)),
                    None => news.push((p.node.clone(), Places { list: vec![(p.visitor.clone(), n)] })),
                }
            }
            line.insert(p.visitor.clone(), n);
        }
        self.places.told = line;
        if news.is_empty() {
            return;
        }
        self.places.free = Some(now + limits.places_every);
        for (host, places) in news {
            let Some(node) = self.node_by_host(&host).map(|n| n.addr.clone()) else { continue };
            let Some(room) = self.shadow(&node) else { continue };
            let (_, id) = self.next_id();
            let iq = VisitorsIq::new(room, Payload::Places(places));
            out.push(Action::Send(set(&self.addr.component, &node.host, &id, &iq)));
        }
    }
}
