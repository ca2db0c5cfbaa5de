//! A conference as the receivers of one shard see it: classes, slots, which stream each slot follows and waits for (`spec/bridge.md` 9.5.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::bwe::Demand;
use amphi_media::codec::Headers;
use amphi_media::conference::Class;
use amphi_media::egress::{RawPacket, Receiver, StreamPacket, VideoSlot};
use amphi_media::ids::{ClassId, ConferenceId, EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::keyframe::{Need, Wish};
use amphi_media::projection::{self, StreamKey};
use amphi_media::send::{Store, StoreConfig};
use amphi_media::slots::SlotSsrc;
use amphi_media::source::SourceDesc;
use foldhash::{HashMap, HashMapExt};

use super::Wants;
use super::member::{Member, Members};

/// A slot that follows a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) member: u32,
    pub(super) slot: u16,
    /// Equal to the slot's as long as this entry counts.
    pub(super) stamp: u32,
}

/// A slot that waits for a stream (and may follow another one meanwhile).
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) member: u32,
    pub(super) slot: u16,
    /// The member's.
    pub(super) stamp: u32,
}

/// A stream on this shard.
pub(super) struct Local {
    pub(super) followers: Vec<Follower>,
    /// For retransmission.
    pub(super) store: Store<StreamPacket>,
    pub(super) last: Instant,
}

struct Seen {
    owner: EndpointId,
    kind: MediaKind,
    ssrc: u32,
    rtx: Option<u32>,
}

/// Receivers of a class whose rung changed: class, its version, who is where.
pub(super) type Rungs = (ClassId, u32, Vec<(EndpointId, u16)>);

pub(super) struct Room {
    pub(super) id: ConferenceId,
    /// The shard that has the home.
    pub(super) home: usize,
    /// Members that receive audio or video and are connected.
    pub(super) receivers: Vec<usize>,
    /// Relays that are connected.
    pub(super) relays: Vec<usize>,
    /// What relays may ask for again, by SSRC.
    raw: HashMap<u32, Store<RawPacket>>,
    sources: HashMap<SourceId, Seen>,
    /// Which source of video has an SSRC: the one that had it first.
    holders: HashMap<u32, SourceId>,
    classes: HashMap<ClassId, Arc<Class>>,
    video: Arc<[SlotSsrc]>,
    /// Audio that receivers do not get if nothing else is said.
    pub(super) skip: Arc<[SourceId]>,
    pub(super) streams: HashMap<StreamKey, Local>,
    keys: HashMap<(SourceId, LayerIndex), StreamKey>,
    pub(super) waiting: Vec<Waiting>,
    /// What is wanted may differ from what was told.
    dirty: bool,
    told: Instant,
    rungs: Vec<Rungs>,
    pub(super) bandwidths: Vec<(EndpointId, u64)>,
}

/// Time between two messages to the home about what is wanted.
const WANTS: Duration = Duration::from_millis(20);
/// A change inside a spatial layer comes without a keyframe; if it does not for so long, one is asked for.
const PATIENCE: Duration = Duration::from_millis(500);
/// A keyframe that was asked for and did not help is asked for again.
const AGAIN: Duration = Duration::from_millis(1_500);
/// What costs so many times the bandwidth is not sent on while less is waited for: its packets would only keep the queue full that the keyframe
/// of the less must pass.
const CHOKED: u64 = 2;
/// Streams of which nothing came for so long are forgotten.
const STALE: Duration = Duration::from_secs(30);

impl Room {
    pub(super) fn new(now: Instant, id: ConferenceId, home: usize) -> Self {
        Self {
            id,
            home,
            receivers: Vec::new(),
            relays: Vec::new(),
            raw: HashMap::new(),
            sources: HashMap::new(),
            holders: HashMap::new(),
            classes: HashMap::new(),
            video: Arc::new([]),
            skip: Arc::new([]),
            streams: HashMap::new(),
            keys: HashMap::new(),
            waiting: Vec::new(),
            dirty: true,
            told: now,
            rungs: Vec::new(),
            bandwidths: Vec::new(),
        }
    }

    /// All sources of somebody.
    pub(super) fn set_sources(&mut self, owner: EndpointId, sources: &[SourceDesc]) {
        self.sources.retain(|_, it| it.owner != owner);
        for desc in sources {
            if let Some(first) = desc.encodings.first() {
                let seen = Seen { owner, kind: desc.kind, ssrc: first.ssrc, rtx: first.rtx };
                self.sources.insert(desc.id, seen);
            }
        }
        self.hold();
    }

    /// Two sources with one SSRC would take a receiver's slot from each other, for ever.
    fn hold(&mut self) {
        let sources = &self.sources;
        self.holders.retain(|ssrc, id| sources.get(id).is_some_and(|it| it.ssrc == *ssrc));
        for (id, it) in self.sources.iter().filter(|(_, it)| it.kind == MediaKind::Video) {
            self.holders.entry(it.ssrc).or_insert(*id);
        }
    }

    pub(super) fn remove_owner(&mut self, owner: EndpointId) {
        self.sources.retain(|_, it| it.owner != owner);
        self.hold();
    }

    pub(super) fn set_video_ssrcs(&mut self, video: Arc<[SlotSsrc]>) {
        self.video = video;
    }

    pub(super) fn set_class(&mut self, class: Arc<Class>) {
        self.classes.insert(class.id, class);
    }

    /// Puts all members on their rungs.
    pub(super) fn place_all(&mut self, now: Instant, members: &mut Members, class: Option<ClassId>, again: bool) {
        for place in self.receivers.clone() {
            if class.is_none() || members.get(place).is_some_and(|it| it.class == class) {
                self.place(now, members, place, again);
            }
        }
    }

    pub(super) fn remove_class(&mut self, class: ClassId) {
        self.classes.remove(&class);
    }

    /// A member is connected.
    pub(super) fn add_receiver(&mut self, place: usize) {
        if !self.receivers.contains(&place) {
            self.receivers.push(place);
        }
        self.dirty = true;
    }

    /// A relay is connected.
    pub(super) fn add_relay(&mut self, place: usize) {
        if !self.relays.contains(&place) {
            self.relays.push(place);
        }
    }

    /// Keeps a packet for relays that ask for it again.
    pub(super) fn keep(&mut self, now: Instant, packet: &Arc<RawPacket>) {
        let store = self.raw.entry(packet.numbers.ssrc).or_insert_with(|| Store::new(StoreConfig::default()));
        store.push(now, packet.numbers.seq, packet.clone());
    }

    /// A packet that a relay asks for again, and when it was sent first.
    pub(super) fn kept(&self, now: Instant, ssrc: u32, seq: u64) -> Option<(Instant, &Arc<RawPacket>)> {
        self.raw.get(&ssrc)?.get(now, seq)
    }

    pub(super) fn remove_receiver(&mut self, place: usize) {
        self.receivers.retain(|it| *it != place);
        self.relays.retain(|it| *it != place);
        self.dirty = true;
    }

    /// Puts a member on the rung that its class and bandwidth say. `again`: also if it is there, because what the rung means may have changed.
    pub(super) fn place(&mut self, now: Instant, members: &mut Members, place: usize, again: bool) {
        let Some(member) = members.get_mut(place) else { return };
        let Some(class) = member.class.and_then(|class| self.classes.get(&class)).cloned() else { return };
        let rewriting = member.media.ssrc_rewriting;
        let (id, told, member_stamp, assumed) = (member.id, member.rung, member.stamp, member.assumed);
        let mut choked = false;
        let Some(receiver) = member.receiver.as_mut().filter(|_| member.media.accepts_video) else { return };
        let rung = match assumed.or(receiver.bandwidth()) {
            Some(bandwidth) => {
                receiver.hysteresis.update(bandwidth);
                choked = receiver.hysteresis.used().saturating_mul(CHOKED) < member.cost;
                class.staircase.rung(receiver.hysteresis.used())
            }
            None => class.staircase.rungs.len().saturating_sub(1),
        };
        let step = class.staircase.rungs.get(rung);
        let cost = step.map_or(0, |it| it.bps);
        // While a slot waits, what it showed before still costs as much as before.
        member.cost = if receiver.slots.iter().any(|it| it.switching) { member.cost.max(cost) } else { cost };
        let now_on = (class.version, rung as u16);
        if told == Some(now_on) && !again {
            return;
        }
        member.rung = Some(now_on);
        let demand = Demand { target: step.map_or(0, |it| it.bps), ideal: class.staircase.ideal_bps };
        receiver.bwe.set_demand(now, demand);
        let targets = step.map(|it| it.targets.clone()).unwrap_or_else(|| Arc::new([]));
        let mut taken: smallvec::SmallVec<[usize; 8]> = smallvec::SmallVec::new();
        for (source, layer) in targets.iter().copied() {
            let ssrcs = match rewriting {
                true => {
                    let slot = class.slots.iter().position(|it| *it == Some(source));
                    slot.and_then(|slot| self.video.get(slot)).map(|it| (it.ssrc, Some(it.rtx)))
                }
                false => {
                    let holds = |it: &&Seen| self.holders.get(&it.ssrc) == Some(&source);
                    self.sources.get(&source).filter(holds).map(|it| (it.ssrc, it.rtx))
                }
            };
            let known = self.sources.get(&source).is_some_and(|it| it.kind == MediaKind::Video && it.owner != id);
            let Some((ssrc, rtx)) = ssrcs.filter(|_| known) else { continue };
            let Some(slot) = receiver.slot(ssrc, rtx) else { continue };
            taken.push(slot);
            if choked {
                receiver.slots[slot].choke(source, layer);
            }
            self.want(now, receiver, place, member_stamp, slot, Some((source, layer)));
        }
        for slot in 0..receiver.slots.len() {
            if !taken.contains(&slot) {
                self.want(now, receiver, place, member_stamp, slot, None);
            }
        }
        if told != Some(now_on) {
            self.tell_rung(class.id, class.version, id, rung as u16);
        }
        members.arm(place);
    }

    fn tell_rung(&mut self, class: ClassId, version: u32, id: EndpointId, rung: u16) {
        match self.rungs.iter_mut().find(|(of, in_version, _)| *of == class && *in_version == version) {
            Some((.., receivers)) => receivers.push((id, rung)),
            None => self.rungs.push((class, version, vec![(id, rung)])),
        }
    }

    pub(super) fn take_rungs(&mut self) -> Vec<Rungs> {
        std::mem::take(&mut self.rungs)
    }

    fn want(
        &mut self,
        now: Instant,
        receiver: &mut Receiver,
        place: usize,
        member_stamp: u32,
        slot: usize,
        wanted: Option<(SourceId, LayerIndex)>,
    ) {
        let Some(it) = receiver.slots.get_mut(slot) else { return };
        if it.wanted == wanted {
            return;
        }
        self.dirty = true;
        it.wanted = wanted;
        let Some(target) = wanted else {
            it.subscription.switch_to(None);
            (it.waits, it.via) = (None, None);
            return;
        };
        it.via = self.stopover(it.subscription.current(), target);
        aim(&self.keys, it);
        if !arrived(it) {
            it.waits = Some((now, None));
            if !it.switching {
                it.switching = true;
                self.waiting.push(Waiting { member: place as u32, slot: slot as u16, stamp: member_stamp });
            }
        }
    }

    /// Where a slot stays while it waits for less than it shows.
    fn stopover(&self, current: Option<StreamKey>, (source, layer): (SourceId, LayerIndex)) -> Option<LayerIndex> {
        let current = current.filter(|it| it.source == source)?;
        let newest = self.streams.get(&current).and_then(|it| it.store.newest().next());
        let structure = newest.and_then(|(_, packet)| match &packet.packet.frame.headers {
            Headers::Dependency(descriptor) => Some(&*descriptor.structure),
            _ => None,
        });
        projection::stopover(current.target, layer, structure)
    }

    /// A packet of a stream came that is not known here: whoever wants its source and layer waits for it from now on.
    pub(super) fn discover(&mut self, now: Instant, members: &mut Members, key: StreamKey) {
        self.streams.insert(key, Local { followers: Vec::new(), store: Store::new(StoreConfig::default()), last: now });
        let before = self.keys.insert((key.source, key.target), key);
        // Followers of the stream that this one takes the place of.
        let left = before.and_then(|before| self.streams.get_mut(&before)).map(|it| std::mem::take(&mut it.followers));
        for follower in left.into_iter().flatten() {
            let Some(member) = members.get_mut(follower.member as usize) else { continue };
            let stamp = member.stamp;
            let Some(slot) = member.receiver.as_mut().and_then(|it| it.slots.get_mut(usize::from(follower.slot)))
            else {
                continue;
            };
            slot.listed = None;
            if slot.stamp == follower.stamp && !slot.switching {
                slot.switching = true;
                slot.waits = Some((now, None));
                self.waiting.push(Waiting { member: follower.member, slot: follower.slot, stamp });
            }
        }
        for waiting in &self.waiting {
            if let Some(slot) = waiting_slot(members, waiting)
                && let Some((source, layer)) = slot.wanted
                && source == key.source
                && (layer == key.target || slot.via == Some(key.target))
            {
                aim(&self.keys, slot);
            }
        }
    }

    /// Keyframes that those who wait need.
    pub(super) fn wishes(&mut self, now: Instant, members: &mut Members) -> Vec<Wish> {
        self.streams.retain(|_, it| now.saturating_duration_since(it.last) < STALE || !it.followers.is_empty());
        self.keys.retain(|_, key| self.streams.contains_key(key));
        self.raw.retain(|_, store| {
            store.expire(now);
            !store.is_empty()
        });
        let mut wishes: Vec<Wish> = Vec::new();
        self.waiting.retain(|waiting| {
            let Some(member) = members.get_mut(waiting.member as usize).filter(|it| it.stamp == waiting.stamp) else {
                return false;
            };
            let requester = member.id;
            let Some(receiver) = &mut member.receiver else { return false };
            let rtt = receiver.rtt();
            let Some(slot) = receiver.slots.get_mut(usize::from(waiting.slot)) else { return false };
            let (Some((source, layer)), Some((since, asked))) = (slot.wanted, slot.waits) else {
                slot.switching = false;
                return false;
            };
            let need = match slot.subscription.current() {
                None => Need::FirstView,
                Some(current) if current.source != source => Need::FirstView,
                Some(current) if layer.encoding() < current.target.encoding() => Need::Downgrade,
                Some(current) if layer.encoding() > current.target.encoding() => Need::Upgrade,
                // Layers of one encoding: most changes come of themselves.
                Some(_) if now.saturating_duration_since(since) < PATIENCE => return true,
                Some(current) if layer < current.target => Need::Downgrade,
                Some(_) => Need::Upgrade,
            };
            if asked.is_none_or(|at| now.saturating_duration_since(at) >= AGAIN) {
                slot.waits = Some((since, Some(now)));
                wishes.push(Wish { source, encoding: layer.encoding(), need, requester: Some(requester), rtt });
            }
            true
        });
        wishes
    }

    /// What is wanted here, if it may have changed since it was told.
    pub(super) fn wants(&mut self, now: Instant, shard: usize, members: &Members) -> Option<Wants> {
        let pause = if self.dirty { WANTS } else { Duration::from_secs(2) };
        if now.saturating_duration_since(self.told) < pause {
            return None;
        }
        (self.dirty, self.told) = (false, now);
        let mut streams: HashMap<(SourceId, LayerIndex), u32> = HashMap::new();
        for place in &self.receivers {
            let Some(receiver) = members.get(*place).and_then(|it| it.receiver.as_ref()) else { continue };
            for slot in &receiver.slots {
                if let Some(wanted) = slot.wanted {
                    *streams.entry(wanted).or_default() += 1;
                }
                if let (Some((source, _)), Some(via)) = (slot.wanted, slot.via) {
                    *streams.entry((source, via)).or_default() += 1;
                }
                // What is followed until the switch.
                if let Some(current) = slot.subscription.current().map(|it| (it.source, it.target))
                    && slot.wanted != Some(current)
                {
                    *streams.entry(current).or_default() += 1;
                }
            }
        }
        Some(Wants {
            conference: Some(self.id),
            shard,
            receivers: self.receivers.len() as u32,
            streams: streams.into_iter().map(|((source, layer), count)| (source, layer, count)).collect(),
        })
    }

    /// What is followed has changed: the home is to know.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }
}

/// Lets a slot wait for what it is to show, as far as the streams are known.
fn aim(keys: &HashMap<(SourceId, LayerIndex), StreamKey>, slot: &mut VideoSlot) {
    let Some((source, layer)) = slot.wanted else { return };
    let Some(key) = keys.get(&(source, layer)).copied() else { return };
    match slot.via.and_then(|via| keys.get(&(source, via))) {
        Some(via) => slot.subscription.switch_via(*via, key),
        None => slot.subscription.switch_to(Some(key)),
    }
}

/// Whether a slot follows what it is to follow.
pub(super) fn arrived(slot: &VideoSlot) -> bool {
    match (slot.wanted, slot.subscription.current()) {
        (None, _) => true,
        (Some(wanted), Some(current)) => {
            wanted == (current.source, current.target) && slot.subscription.pending().is_none()
        }
        (Some(_), None) => false,
    }
}

/// The slot that waits, if the entry still counts.
pub(super) fn waiting_slot<'a>(members: &'a mut Members, waiting: &Waiting) -> Option<&'a mut VideoSlot> {
    let member: &mut Member = members.get_mut(waiting.member as usize).filter(|it| it.stamp == waiting.stamp)?;
    member.receiver.as_mut()?.slots.get_mut(usize::from(waiting.slot))
}
