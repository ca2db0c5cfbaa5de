//! What bridges of our kind are spared (`spec/bridge.md` 5.3): sources and encodings that nobody behind them wants. Such a bridge says of itself in
//! ServerHello that it tells its wishes completely; others get everything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::ids::{EndpointId, MediaKind, SourceId};
use crate::source::{SourceDesc, VideoType};

use super::{Conference, Outgoing, Output};

/// The version in ServerHello of bridges that tell all their wishes.
pub const WISHES_TOLD: &str = "amphi; wishes told: 1";

/// Sources of which not everything is sent, by number, and how many encodings are.
pub type Spared = Arc<[(SourceId, u8)]>;

/// A relay to a bridge of our kind.
#[derive(Debug, Default)]
pub(super) struct Sparing {
    /// Sources that it does not want.
    refused: HashSet<Arc<str>>,
    /// Whether it said who it is: until then it gets everything.
    known: bool,
    told: Option<Spared>,
}

/// By relay.
pub(super) type Sparings = HashMap<EndpointId, Sparing>;

impl Conference {
    /// The channel to a relay is up and our wishes were told: now we may say so.
    pub(super) fn say_who_we_are(&mut self, relay: EndpointId) {
        if self.config.wanted_only {
            self.send(relay, Outgoing::RelayHello);
        }
    }

    /// A bridge said who it is.
    pub(super) fn relay_hello(&mut self, now: Instant, relay: EndpointId, version: Option<&str>) {
        if self.config.wanted_only && version == Some(WISHES_TOLD) {
            self.sparing.entry(relay).or_default().known = true;
            self.spare_soon(now);
        }
    }

    /// A relay wants something, or nothing, of a source.
    pub(super) fn relay_wish(&mut self, now: Instant, relay: EndpointId, name: &Arc<str>, nothing: bool, max: usize) {
        if !self.config.wanted_only {
            return;
        }
        let it = self.sparing.entry(relay).or_default();
        if !nothing {
            it.refused.remove(name);
        } else if it.refused.len() < max {
            it.refused.insert(name.clone());
        }
        self.spare_soon(now);
    }

    /// A source of this name is gone: the next one is wanted until something else is said.
    pub(super) fn forget_refusals(&mut self, name: &str) {
        for it in self.sparing.values_mut() {
            it.refused.remove(name);
        }
    }

    /// The channel to a relay is down: what it wants may change unheard.
    pub(super) fn spare_nothing(&mut self, relay: EndpointId) {
        if self.sparing.remove(&relay).is_some_and(|it| it.told.is_some_and(|told| !told.is_empty())) {
            self.out.push_back(Output::Spare { relay, sources: Arc::new([]) });
        }
    }

    pub(super) fn spare_soon(&mut self, now: Instant) {
        if self.sparing.values().any(|it| it.known) {
            self.pending.sparing = true;
            self.soon(now);
        }
    }

    /// Tells the plane what is left out for whom, where that is new.
    pub(super) fn tell_sparing(&mut self) {
        if !std::mem::take(&mut self.pending.sparing) {
            return;
        }
        let mut relays: Vec<EndpointId> = self.sparing.iter().filter(|(_, it)| it.known).map(|(id, _)| *id).collect();
        relays.sort_unstable();
        for relay in relays {
            let spared = self.spared(relay);
            let Some(it) = self.sparing.get_mut(&relay) else { continue };
            if it.told.as_ref().map_or(spared.is_empty(), |told| *told == spared) {
                continue;
            }
            it.told = Some(spared.clone());
            self.out.push_back(Output::Spare { relay, sources: spared });
        }
    }

    fn spared(&self, relay: EndpointId) -> Spared {
        let (Some(it), Some(wants)) = (self.sparing.get(&relay), self.relay_wants.get(&relay)) else {
            return Arc::new([]);
        };
        let limit = |desc: &SourceDesc| match wants.get(&desc.name) {
            Some(height) => encodings(desc, *height),
            None if it.refused.contains(&desc.name) => 0,
            None => desc.encodings.len(),
        };
        let videos = self.sources.iter().filter(|(_, it)| it.desc.kind == MediaKind::Video);
        let mut all: Vec<(SourceId, u8)> = videos
            .filter(|(_, it)| self.concerns(relay, it.desc.owner))
            .map(|(id, source)| (*id, limit(&source.desc), source.desc.encodings.len()))
            .filter(|(_, limit, all)| limit < all)
            .map(|(id, limit, _)| (id, limit as u8))
            .collect();
        all.sort_unstable();
        all.into()
    }
}

/// How many encodings somebody may need who wants this height: all that are no higher than the first that suffices.
fn encodings(desc: &SourceDesc, height: i32) -> usize {
    let all = desc.encodings.len();
    if height < 0 || desc.video_type != VideoType::Camera {
        return all;
    }
    let heights: Vec<i32> =
        desc.encodings.iter().map(|e| e.layers.iter().map(|l| i32::from(l.height)).max().unwrap_or(0)).collect();
    let Some(enough) = heights.iter().copied().filter(|h| *h >= height).min() else { return all };
    heights.iter().rposition(|h| *h <= enough).map_or(all, |last| last + 1)
}
