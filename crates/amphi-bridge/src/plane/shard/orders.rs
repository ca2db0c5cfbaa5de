//! What a shard does when it is told something.

use std::sync::Arc;
use std::time::Instant;

use amphi_media::conference::Output;
use amphi_media::egress::Receiver;
use amphi_media::ids::{ConferenceId, EndpointId};
use amphi_media::keyframe::{Need, Wish};
use amphi_media::srtp::{Inbound, MasterKey, Outbound, Profile, SrtpError};

use super::ingress::Route;
use super::member::Member;
use super::room::Room;
use super::{Home, Shard, ShardOrder};
use crate::plane::command::{Media, Role};
use crate::plane::stats::{EndpointStats, ShardStats};
use crate::transport::{self, KeyPair, Keys};

impl Shard {
    pub(super) fn order(&mut self, now: Instant, order: ShardOrder) {
        match order {
            ShardOrder::Bind { local, remote, endpoint, shard, thread, proven } => {
                let Some(local) = self.local(local) else { return };
                // A thread knows what its own peers hold. What a peer of another one holds is not given away for a request, whose sender
                // address may be false: only for an answer, which nobody can give who is not there.
                let held = self.addresses.0.get(&(local, remote)).is_some_and(|it| it.thread != thread);
                if held && !proven {
                    self.out.counters.takeovers_refused += 1;
                    return;
                }
                self.addresses.0.insert((local, remote), Route { endpoint, shard, thread });
            }
            ShardOrder::Unbind { local, remote, endpoint } => {
                if let Some(local) = self.local(local)
                    && self.addresses.0.get(&(local, remote)).is_some_and(|it| it.endpoint == endpoint)
                {
                    self.addresses.0.remove(&(local, remote));
                }
            }
            ShardOrder::Selected { endpoint, local, remote } => {
                let local = self.local(local);
                if let (Some(member), Some(local)) = (self.members.by_id(endpoint), local) {
                    member.path = Some((local, remote));
                }
            }
            ShardOrder::Keys { endpoint, keys } => self.keys(now, endpoint, &keys),
            ShardOrder::Disconnected { endpoint } => self.disconnected(endpoint),
            ShardOrder::CreateConference { config, home } => {
                self.rooms.insert(config.id, Room::new(now, config.id, home));
                if home == self.parts.index {
                    self.homes.insert(config.id, Home::new(now, config));
                    self.next_tick = now;
                }
            }
            ShardOrder::ExpireConference(conference) => {
                for (_, id) in self.members.of(conference) {
                    self.members.remove(id);
                }
                self.rooms.remove(&conference);
                self.homes.remove(&conference);
                self.addresses
                    .0
                    .retain(|_, route| self.members.place(route.endpoint).is_some() || route.shard != self.parts.index);
            }
            ShardOrder::AddEndpoint { id, conference, role, media } => self.add(now, id, conference, role, media),
            ShardOrder::AddRelayed { endpoint, relay } => {
                let conference = self.members.by_id(relay).map(|it| it.conference);
                if let Some(home) = conference.and_then(|id| self.homes.get_mut(&id)) {
                    home.add_relayed(endpoint, relay);
                }
            }
            ShardOrder::RemoveEndpoint { conference, id } => self.remove(conference, id),
            ShardOrder::SetMedia { endpoint, media } => self.set_media(now, endpoint, media),
            ShardOrder::SetSources { conference, endpoint, sources } => {
                if let Some(home) = self.homes.get_mut(&conference) {
                    home.set_sources(now, endpoint, &sources);
                }
                if let Some(room) = self.rooms.get_mut(&conference) {
                    room.set_sources(endpoint, &sources);
                    room.place_all(now, &mut self.members, None, true);
                }
            }
            ShardOrder::ForceMute { endpoint, audio, video } => {
                if let Some(member) = self.members.by_id(endpoint) {
                    member.muted = (audio, video);
                } else {
                    self.homes.values_mut().for_each(|home| home.force_mute(endpoint, audio, video));
                }
            }
            ShardOrder::Decision { conference, output } => self.decision(now, conference, output),
            ShardOrder::Wants(wants) => {
                if let Some(home) = wants.conference.and_then(|id| self.homes.get_mut(&id)) {
                    home.wants(now, wants);
                }
            }
            ShardOrder::Wish { conference, wish } => {
                if let Some(home) = self.homes.get_mut(&conference) {
                    home.wish(now, wish);
                }
            }
            ShardOrder::Stats(reply) => {
                let mut counters = self.out.counters;
                counters.event_drops += self.parts.events.drops;
                self.homes.values().for_each(|home| counters.add(home.counters()));
                let stats = ShardStats {
                    shard: self.parts.index,
                    counters,
                    endpoints: self.members.len(),
                    busy: self.busy,
                    longest_pass: std::mem::take(&mut self.longest),
                };
                // Who asked may have gone.
                let _ = reply.send(stats);
            }
            ShardOrder::ConferenceStats { conference, reply } => {
                if let Some(home) = self.homes.get(&conference) {
                    let _ = reply.send(home.stats());
                }
            }
            ShardOrder::EndpointStats { endpoint, reply } => {
                if let Some(member) = self.members.by_id(endpoint) {
                    let receiver = member.receiver.as_ref();
                    let stats = EndpointStats {
                        connected: receiver.is_some() && member.path.is_some(),
                        packets_received: member.received.0,
                        bytes_received: member.received.1,
                        packets_lost: 0,
                        packets_sent: member.sent.0,
                        bytes_sent: member.sent.1,
                        bandwidth_bps: receiver.and_then(Receiver::bandwidth),
                        rtt: receiver.and_then(Receiver::rtt),
                        rung: member.rung.map(|(_, rung)| rung),
                    };
                    let _ = reply.send(stats);
                }
            }
            ShardOrder::Shutdown => self.running = false,
        }
    }

    fn local(&self, address: std::net::SocketAddr) -> Option<usize> {
        self.parts.locals.iter().position(|it| it.base == address)
    }

    fn add(&mut self, now: Instant, id: EndpointId, conference: ConferenceId, role: Role, media: Arc<Media>) {
        if !self.rooms.contains_key(&conference) {
            return;
        }
        if self.members.place(id).is_some() {
            self.remove(conference, id);
        }
        let layout = self.layouts.find(&media.extensions);
        if role != Role::Visitor
            && let Some(home) = self.homes.get_mut(&conference)
        {
            home.add(now, id, role, media.clone());
        }
        self.members.add(id, conference, role, media, layout);
    }

    fn remove(&mut self, conference: ConferenceId, id: EndpointId) {
        if let Some((place, member)) = self.members.remove(id) {
            if let Some(room) = self.rooms.get_mut(&member.conference) {
                room.remove_receiver(place);
                room.remove_owner(id);
            }
            if let Some(home) = self.homes.get_mut(&member.conference) {
                home.remove(id);
            }
            return;
        }
        // Somebody behind a relay, or an endpoint of another shard.
        if let Some(home) = self.homes.get_mut(&conference) {
            home.remove(id);
        }
        if let Some(room) = self.rooms.get_mut(&conference) {
            room.remove_owner(id);
        }
    }

    fn disconnected(&mut self, id: EndpointId) {
        let Some(place) = self.members.place(id) else { return };
        let Some(member) = self.members.get_mut(place) else { return };
        let conference = member.conference;
        (member.path, member.inbound, member.receiver, member.rung) = (None, None, None, None);
        if let Some(room) = self.rooms.get_mut(&conference) {
            room.remove_receiver(place);
        }
    }

    fn keys(&mut self, now: Instant, id: EndpointId, keys: &Keys) {
        let Some(place) = self.members.place(id) else { return };
        let stamp = self.members.stamp();
        let Some(member) = self.members.get_mut(place) else { return };
        let (inbound, outbound) = match contexts(keys) {
            Ok(contexts) => contexts,
            Err(error) => {
                tracing::error!(%error, ?id, "keys of DTLS cannot be used");
                return;
            }
        };
        // Numbers of slots begin anew with new keys, and so does everything that refers to them.
        member.stamp = stamp;
        let receiver = Receiver::new(
            now,
            outbound,
            Member::transport_cc(&member.media),
            Member::rtx_types(&member.media),
            self.parts.receiver.clone(),
        );
        (member.inbound, member.receiver, member.rung) = (Some(inbound), Some(receiver), None);
        let (conference, relay) = (member.conference, matches!(member.role, Role::Relay { .. }));
        match self.rooms.get_mut(&conference) {
            Some(room) if relay => room.add_relay(place),
            Some(room) => {
                room.add_receiver(place);
                room.place(now, &mut self.members, place, true);
            }
            None => {}
        }
        self.members.arm(place);
    }

    fn set_media(&mut self, now: Instant, id: EndpointId, media: Arc<Media>) {
        let layout = self.layouts.find(&media.extensions);
        let Some(place) = self.members.place(id) else { return };
        let Some(member) = self.members.get_mut(place) else { return };
        (member.layout, member.media) = (layout, media.clone());
        if let Some(receiver) = &mut member.receiver {
            receiver.set_media(Member::transport_cc(&media), Member::rtx_types(&media));
        }
        let conference = member.conference;
        if let Some(home) = self.homes.get_mut(&conference) {
            home.set_media(id, media);
        }
        if let Some(room) = self.rooms.get_mut(&conference) {
            room.place(now, &mut self.members, place, true);
        }
    }

    fn decision(&mut self, now: Instant, conference: ConferenceId, output: Output) {
        let Some(room) = self.rooms.get_mut(&conference) else { return };
        let home = self.homes.get_mut(&conference);
        match output {
            Output::SlotSsrcs { video, audio } => {
                room.set_video_ssrcs(video);
                if let Some(home) = home {
                    home.set_audio_ssrcs(audio);
                }
                room.place_all(now, &mut self.members, None, true);
            }
            Output::Class(class) => {
                let id = class.id;
                if let Some(home) = home {
                    home.plan(now, id, Some(&class));
                }
                room.set_class(class);
                room.place_all(now, &mut self.members, Some(id), false);
            }
            Output::SetClass { receiver, class } => {
                if let Some(place) = self.members.place(receiver) {
                    if let Some(member) = self.members.get_mut(place) {
                        (member.class, member.rung) = (Some(class), None);
                    }
                    room.place(now, &mut self.members, place, true);
                }
            }
            Output::ClassGone(class) => {
                if let Some(home) = home {
                    home.plan(now, class, None);
                }
                room.remove_class(class);
            }
            Output::AudioSlots(slots) => {
                if let Some(home) = home {
                    home.set_audio_slots(slots);
                }
            }
            Output::DefaultAudioSkip(skip) => room.skip = skip,
            Output::AudioSkip { receiver, skip } => {
                if let Some(member) = self.members.by_id(receiver) {
                    member.skip = skip;
                }
            }
            Output::AudioExempt(exempt) => {
                if let Some(home) = home {
                    home.set_exempt(exempt);
                }
            }
            Output::AssumedBandwidth { receiver, bps } => {
                if let Some(place) = self.members.place(receiver) {
                    if let Some(member) = self.members.get_mut(place) {
                        member.assumed = bps;
                    }
                    room.place(now, &mut self.members, place, false);
                }
            }
            Output::Spare { relay, sources } => {
                if let Some(member) = self.members.by_id(relay) {
                    member.spared = sources;
                }
            }
            Output::PrepareKeyframe(endpoint) => {
                if let Some(home) = home {
                    for source in home.video_of(endpoint) {
                        let need = Need::Prefetch;
                        home.wish(now, Wish { source, encoding: 0, need, requester: None, rtt: None });
                    }
                }
            }
            Output::Send { .. } | Output::Ignored { .. } => {}
        }
    }
}

/// SRTP contexts of the keys that DTLS made.
fn contexts(keys: &Keys) -> Result<(Inbound, Outbound), SrtpError> {
    let profile = match keys.profile {
        transport::Profile::AeadAes128Gcm => Profile::AeadAes128Gcm,
        transport::Profile::Aes128CmSha1 => Profile::Aes128CmSha1_80,
        transport::Profile::AeadAes256Gcm => Profile::AeadAes256Gcm,
    };
    let master = |pair: &KeyPair| MasterKey::new(profile, &pair.key, &pair.salt);
    Ok((Inbound::new(&master(&keys.receive)?)?, Outbound::new(&master(&keys.send)?)?))
}
