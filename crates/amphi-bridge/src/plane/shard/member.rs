//! The endpoints and relays that a shard owns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use amphi_media::conference::Spared;
use amphi_media::egress::Receiver;
use amphi_media::ids::{ClassId, ConferenceId, EndpointId, MediaKind, SourceId};
use amphi_media::rtp::{ExtensionKind, ExtensionMap};
use amphi_media::srtp::Inbound;
use foldhash::HashMap;

use super::out::Path;
use crate::plane::command::{Codec, Media, Role};

/// An endpoint or relay.
pub(super) struct Member {
    pub(super) id: EndpointId,
    pub(super) conference: ConferenceId,
    pub(super) role: Role,
    pub(super) media: Arc<Media>,
    /// Which layout of headers it has.
    pub(super) layout: usize,
    /// Where it is; none: not connected.
    pub(super) path: Option<Path>,
    pub(super) inbound: Option<Inbound>,
    pub(super) receiver: Option<Receiver>,
    pub(super) class: Option<ClassId>,
    /// Version of the class and rung that were told to control.
    pub(super) rung: Option<(u32, u16)>,
    /// What that rung costs in bit/s.
    pub(super) cost: u64,
    /// Bandwidth to assume in place of the estimate.
    pub(super) assumed: Option<u64>,
    /// Of a relay: sources of which not everything is sent, and how many encodings are.
    pub(super) spared: Spared,
    /// Audio that it does not get; none: what the conference says.
    pub(super) skip: Option<Arc<[SourceId]>>,
    pub(super) muted: (bool, bool),
    /// Tells it from a former member of the same place.
    pub(super) stamp: u32,
    /// The earliest timer that is set.
    timer: Option<Instant>,
    pub(super) received: (u64, u64),
    pub(super) sent: (u64, u64),
}

impl Member {
    /// Media payload types with those of their retransmissions.
    pub(super) fn rtx_types(media: &Media) -> impl Iterator<Item = (u8, u8)> + '_ {
        media.payload_types.iter().filter_map(|it| match it.codec {
            Codec::Rtx { apt } => Some((apt, it.number)),
            _ => None,
        })
    }

    /// Whether packets to it carry transport-wide numbers.
    pub(super) fn transport_cc(media: &Media) -> bool {
        media.extensions.id(ExtensionKind::TransportCc).is_some()
    }
}

impl Media {
    /// The payload type of a number.
    pub(in crate::plane) fn payload_type(&self, number: u8) -> Option<&crate::plane::command::PayloadType> {
        self.payload_types.iter().find(|it| it.number == number)
    }

    /// Whether redundant audio can be passed on under this number.
    pub(super) fn takes_red(&self, number: u8) -> bool {
        self.payload_type(number).is_some_and(|it| it.codec == Codec::Red)
    }

    /// What a payload type carries; of retransmissions what they repeat.
    pub(in crate::plane) fn kind(&self, number: u8) -> Option<MediaKind> {
        match self.payload_type(number)?.codec {
            Codec::Opus | Codec::Red | Codec::OtherAudio => Some(MediaKind::Audio),
            Codec::Video(_) => Some(MediaKind::Video),
            Codec::Rtx { apt } => match self.payload_type(apt)?.codec {
                Codec::Opus | Codec::Red | Codec::OtherAudio => Some(MediaKind::Audio),
                _ => Some(MediaKind::Video),
            },
        }
    }
}

/// All members of a shard, by place and by id.
#[derive(Default)]
pub(super) struct Members {
    places: Vec<Option<Box<Member>>>,
    free: Vec<usize>,
    ids: HashMap<EndpointId, usize>,
    stamps: u32,
    timers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
}

impl Members {
    pub(super) fn add(
        &mut self,
        id: EndpointId,
        conference: ConferenceId,
        role: Role,
        media: Arc<Media>,
        layout: usize,
    ) -> usize {
        let stamp = self.stamp();
        let member = Box::new(Member {
            id,
            conference,
            role,
            media,
            layout,
            path: None,
            inbound: None,
            receiver: None,
            class: None,
            rung: None,
            cost: 0,
            assumed: None,
            spared: Spared::default(),
            skip: None,
            muted: (false, false),
            stamp,
            timer: None,
            received: (0, 0),
            sent: (0, 0),
        });
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(member);
        self.ids.insert(id, place);
        place
    }

    pub(super) fn remove(&mut self, id: EndpointId) -> Option<(usize, Box<Member>)> {
        let place = self.ids.remove(&id)?;
        let member = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        Some((place, member))
    }

    /// A number that was not given before (for four thousand million times).
    pub(super) fn stamp(&mut self) -> u32 {
        self.stamps = self.stamps.wrapping_add(1);
        self.stamps
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Member> {
        self.places.get(place)?.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Member> {
        self.places.get_mut(place)?.as_deref_mut()
    }

    pub(super) fn place(&self, id: EndpointId) -> Option<usize> {
        self.ids.get(&id).copied()
    }

    pub(super) fn by_id(&mut self, id: EndpointId) -> Option<&mut Member> {
        let place = self.place(id)?;
        self.get_mut(place)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Places and ids of the members of a conference.
    pub(super) fn of(&self, conference: ConferenceId) -> Vec<(usize, EndpointId)> {
        let all = self.places.iter().enumerate().filter_map(|(place, it)| Some((place, it.as_deref()?)));
        all.filter(|(_, it)| it.conference == conference).map(|(place, it)| (place, it.id)).collect()
    }

    /// Lets the member's estimate be looked after in time.
    pub(super) fn arm(&mut self, place: usize) {
        let Some(member) = self.places.get_mut(place).and_then(Option::as_deref_mut) else { return };
        let Some(at) = member.receiver.as_ref().and_then(|receiver| receiver.bwe.poll_timeout()) else { return };
        if member.timer.is_none_or(|set| at < set) {
            member.timer = Some(at);
            self.timers.push(Reverse((at, place, member.stamp)));
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// A member whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, place, stamp))) = self.timers.peek().copied() {
            if at > now {
                return None;
            }
            self.timers.pop();
            if let Some(member) = self.get_mut(place).filter(|it| it.stamp == stamp && it.timer == Some(at)) {
                member.timer = None;
                return Some(place);
            }
        }
        None
    }
}

/// The different ways in which headers are laid out: heads are written once for each. Nearly always there is one.
#[derive(Default)]
pub(super) struct Layouts {
    maps: Vec<ExtensionMap>,
}

/// Layouts beyond these share the last one's place, so that peers with odd numbers cost no memory; they get no extensions.
const MAX_LAYOUTS: usize = 64;

impl Layouts {
    pub(super) fn find(&mut self, map: &ExtensionMap) -> usize {
        if self.maps.is_empty() {
            self.maps.push(ExtensionMap::new());
        }
        match self.maps.iter().position(|it| it == map) {
            Some(at) => at,
            None if self.maps.len() < MAX_LAYOUTS => {
                self.maps.push(map.clone());
                self.maps.len() - 1
            }
            None => 0,
        }
    }

    pub(super) fn get(&self, layout: usize) -> Option<&ExtensionMap> {
        self.maps.get(layout)
    }
}
