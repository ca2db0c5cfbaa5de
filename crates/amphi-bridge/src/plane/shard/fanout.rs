//! One batch of packets to all receivers of a conference on this shard. Audio first; then, stream by stream, everybody who follows it, so that
//! one receiver's packets of a frame leave with one system call; then those who switch, packet by packet in the order of arrival.

use std::sync::Arc;
use std::time::Instant;

use amphi_media::egress::{AudioPacket, Head, RawPacket, StreamPacket};
use amphi_media::ids::{ConferenceId, MediaKind, SourceId};
use amphi_media::packet::MediaPacket;
use amphi_media::projection::StreamKey;
use smallvec::SmallVec;

use super::member::{Layouts, Member, Members};
use super::out::{Load, Out};
use super::room::{Follower, Room, arrived};
use super::{Item, Report, Shard};
use crate::plane::command::Role;

/// Heads of one packet by layout.
type Heads = SmallVec<[Option<Box<Head>>; 2]>;

/// The packets of one stream in a batch.
struct Group {
    key: StreamKey,
    packets: Vec<Arc<StreamPacket>>,
    heads: Vec<Heads>,
}

impl Shard {
    /// Sends a batch to whom it is for.
    pub(super) fn fan_out(&mut self, now: Instant, conference: ConferenceId, items: &[Item]) {
        let Some(room) = self.rooms.get_mut(&conference) else { return };
        let (members, layouts, out) = (&mut self.members, &self.layouts, &mut self.out);
        audio(now, room, members, layouts, out, items);
        let mut groups = group(now, room, members, items);
        for group in &mut groups {
            followers(now, room, members, layouts, out, group);
        }
        if !room.waiting.is_empty() {
            switchers(now, room, members, layouts, out, &mut groups, items);
        }
        if !room.relays.is_empty() {
            relays(now, room, members, layouts, out, items);
        }
        for item in items {
            if let Item::Report(report) = item {
                reports(now, room, members, out, report);
            }
        }
    }
}

fn head(heads: &mut Heads, layout: usize, make: impl FnOnce() -> Option<Head>) -> Option<&Head> {
    if heads.len() <= layout {
        heads.resize_with(layout + 1, || None);
    }
    let place = heads.get_mut(layout)?;
    if place.is_none() {
        *place = make().map(Box::new);
    }
    place.as_deref()
}

fn audio(now: Instant, room: &Room, members: &mut Members, layouts: &Layouts, out: &mut Out, items: &[Item]) {
    // Each with its heads, and those of its primary block.
    let mut packets: SmallVec<[(&Arc<AudioPacket>, Heads, Heads); 8]> = items
        .iter()
        .filter_map(|item| match item {
            Item::Audio(packet) => Some((packet, Heads::new(), Heads::new())),
            _ => None,
        })
        .collect();
    if packets.is_empty() {
        return;
    }
    let _ = now;
    // Descending: the last of a run may be shorter than the others. A pass holds hardly ever two packets of one source.
    packets.sort_by_key(|(packet, ..)| std::cmp::Reverse(packet.packet.payload.len()));
    for place in &room.receivers {
        let Some(member) = members.get_mut(*place) else { continue };
        let (id, layout) = (member.id, member.layout);
        let (Some(path), Some(receiver), true) = (member.path, &mut member.receiver, member.media.accepts_audio) else {
            continue;
        };
        let skip = member.skip.as_ref().unwrap_or(&room.skip);
        for (packet, heads, of_primary) in &mut packets {
            if packet.owner == id || skip.contains(&packet.packet.source) {
                continue;
            }
            let numbers = match member.media.ssrc_rewriting {
                true => packet.slot.as_ref(),
                false => Some(&packet.plain),
            };
            let Some(numbers) = numbers else { continue };
            let (media, heads) = match &packet.primary {
                Some(primary) if !member.media.takes_red(packet.packet.payload_type) => (primary, of_primary),
                _ => (&packet.packet, heads),
            };
            let make = || Head::audio(layouts.get(layout)?, media).ok();
            let Some(head) = head(heads, layout, make) else { continue };
            if !out.run.takes(head.sealed_len(&receiver.outbound)) {
                out.flush(path, Load::Audio);
            }
            let size = receiver.line(numbers, head, out.send_time, &mut out.run);
            member.sent.0 += u64::from(size != 0);
            member.sent.1 += size as u64;
        }
        out.flush(path, Load::Audio);
    }
}

/// Sorts the video packets of a batch by stream, keeps them for retransmission, and meets new streams.
fn group(now: Instant, room: &mut Room, members: &mut Members, items: &[Item]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let Item::Video(streams) = item else { continue };
        for packet in streams {
            if !room.streams.contains_key(&packet.stream) {
                room.discover(now, members, packet.stream);
            }
            if let Some(local) = room.streams.get_mut(&packet.stream) {
                local.last = now;
                local.store.push(now, packet.projected.seq, packet.clone());
            }
            let at = match groups.iter().position(|it| it.key == packet.stream) {
                Some(at) => at,
                None => {
                    groups.push(Group { key: packet.stream, packets: Vec::new(), heads: Vec::new() });
                    groups.len() - 1
                }
            };
            groups[at].packets.push(packet.clone());
            groups[at].heads.push(Heads::new());
        }
    }
    groups
}

fn followers(
    now: Instant,
    room: &mut Room,
    members: &mut Members,
    layouts: &Layouts,
    out: &mut Out,
    group: &mut Group,
) {
    let Some(local) = room.streams.get_mut(&group.key) else { return };
    let mut at = 0;
    while let Some(follower) = local.followers.get(at).copied() {
        if follow(now, members, layouts, out, group, &follower) {
            at += 1;
        } else {
            local.followers.swap_remove(at);
        }
    }
}

/// Sends a stream's packets to one follower; `false` if it is none any more.
#[inline]
fn follow(
    now: Instant,
    members: &mut Members,
    layouts: &Layouts,
    out: &mut Out,
    group: &mut Group,
    follower: &Follower,
) -> bool {
    let Some(member) = members.get_mut(follower.member as usize) else { return false };
    let slot_index = usize::from(follower.slot);
    let layout = member.layout;
    let Some(receiver) = &mut member.receiver else { return false };
    let Some(slot) = receiver.slots.get(slot_index) else { return false };
    if slot.stamp != follower.stamp || slot.listed != Some(group.key) {
        return false;
    }
    if slot.switching {
        return true;
    }
    if slot.subscription.current() != Some(group.key) {
        receiver.slots[slot_index].listed = None;
        return false;
    }
    let Some(path) = member.path else { return true };
    for (packet, heads) in group.packets.iter().zip(&mut group.heads) {
        let Some(slot) = receiver.slots.get_mut(slot_index) else { break };
        let Some(numbers) = slot.subscription.accept(now, group.key, &packet.projected, &packet.packet) else {
            continue;
        };
        let make = || Head::video(layouts.get(layout)?, &packet.packet, &packet.projected).ok();
        let Some(head) = head(heads, layout, make) else { continue };
        if !out.run.takes(head.sealed_len(&receiver.outbound)) {
            out.flush(path, Load::Video);
        }
        let size = receiver.video(now, slot_index, &numbers, head, out.send_time, &mut out.run);
        member.sent.0 += u64::from(size != 0);
        member.sent.1 += size as u64;
    }
    out.flush(path, Load::Video);
    true
}

/// Those who wait for a stream: for each packet first who joins, then who stays (`amphi_media::projection`).
fn switchers(
    now: Instant,
    room: &mut Room,
    members: &mut Members,
    layouts: &Layouts,
    out: &mut Out,
    groups: &mut [Group],
    items: &[Item],
) {
    // Per item: group and place in it of each stream's packet.
    let mut places: Vec<SmallVec<[(usize, usize); 3]>> = Vec::with_capacity(items.len());
    let mut counts: SmallVec<[usize; 8]> = groups.iter().map(|_| 0).collect();
    for item in items {
        let Item::Video(streams) = item else { continue };
        let mut row = SmallVec::new();
        for packet in streams {
            if let Some(at) = groups.iter().position(|it| it.key == packet.stream) {
                row.push((at, counts[at]));
                counts[at] += 1;
            }
        }
        places.push(row);
    }
    let mut touched = false;
    let mut waiting = std::mem::take(&mut room.waiting);
    waiting.retain(|waiter| {
        let stamp = members.stamp();
        let Some(member) = members.get_mut(waiter.member as usize).filter(|it| it.stamp == waiter.stamp) else {
            return false;
        };
        let slot_index = usize::from(waiter.slot);
        if let Some(path) = member.path {
            for row in &places {
                // The packet that it joins with is sent by that: once more would be under a number that was used (`spec/bridge.md` 9.6).
                let mut offered = |joins: bool| {
                    row.iter().any(|(at, place)| {
                        let group = groups.get_mut(*at);
                        group.is_some_and(|group| offer(now, member, layouts, out, group, *place, slot_index, joins))
                    })
                };
                let _ = offered(true) || offered(false);
            }
            out.flush(path, Load::Video);
        }
        let Some(slot) = member.receiver.as_mut().and_then(|it| it.slots.get_mut(slot_index)) else { return false };
        if !arrived(slot) {
            return true;
        }
        (slot.switching, slot.waits, slot.via) = (false, None, None);
        touched = true;
        if let Some(current) = slot.subscription.current()
            && slot.listed != Some(current)
            && let Some(local) = room.streams.get_mut(&current)
        {
            (slot.listed, slot.stamp) = (Some(current), stamp);
            local.followers.push(Follower { member: waiter.member, slot: waiter.slot, stamp });
        }
        false
    });
    room.waiting = waiting;
    if touched {
        room.touch();
    }
}

/// Whether the packet was for this slot.
#[expect(clippy::too_many_arguments, reason = "the parts of a shard, borrowed one by one")]
fn offer(
    now: Instant,
    member: &mut Member,
    layouts: &Layouts,
    out: &mut Out,
    group: &mut Group,
    place: usize,
    slot_index: usize,
    joins: bool,
) -> bool {
    let layout = member.layout;
    let (Some(path), Some(receiver)) = (member.path, &mut member.receiver) else { return false };
    let (Some(packet), Some(heads)) = (group.packets.get(place), group.heads.get_mut(place)) else { return false };
    let Some(slot) = receiver.slots.get_mut(slot_index) else { return false };
    let numbers = match joins {
        true => slot.subscription.join(now, group.key, &packet.projected, &packet.packet),
        false => slot.subscription.accept(now, group.key, &packet.projected, &packet.packet),
    };
    let Some(numbers) = numbers else { return false };
    let make = || Head::video(layouts.get(layout)?, &packet.packet, &packet.projected).ok();
    let Some(head) = head(heads, layout, make) else { return false };
    if !out.run.takes(head.sealed_len(&receiver.outbound)) {
        out.flush(path, Load::Video);
    }
    let size = receiver.video(now, slot_index, &numbers, head, out.send_time, &mut out.run);
    member.sent.0 += u64::from(size != 0);
    member.sent.1 += size as u64;
    true
}

/// Relays get everything but what came from their own mesh (`spec/bridge.md` 5.3).
fn relays(now: Instant, room: &mut Room, members: &mut Members, layouts: &Layouts, out: &mut Out, items: &[Item]) {
    let mut packets: SmallVec<[(&Arc<RawPacket>, Heads); 8]> = SmallVec::new();
    for item in items {
        let Item::Raw(packet) = item else { continue };
        if packet.packet.kind == MediaKind::Video {
            room.keep(now, packet);
        }
        packets.push((packet, Heads::new()));
    }
    for place in &room.relays {
        let Some(member) = members.get_mut(*place) else { continue };
        let (Role::Relay { mesh }, layout) = (member.role, member.layout) else { continue };
        let (Some(path), Some(receiver)) = (member.path, &mut member.receiver) else { continue };
        for (packet, heads) in &mut packets {
            let accepts = match packet.packet.kind {
                MediaKind::Audio => member.media.accepts_audio,
                MediaKind::Video => member.media.accepts_video,
            };
            if packet.mesh == Some(mesh) || !accepts || spares(&member.spared, &packet.packet) {
                continue;
            }
            let make = || Head::raw(layouts.get(layout)?, &packet.packet).ok();
            let Some(head) = head(heads, layout, make) else { continue };
            if !out.run.takes(head.sealed_len(&receiver.outbound)) {
                out.flush(path, Load::Video);
            }
            let size = receiver.line(&packet.numbers, head, out.send_time, &mut out.run);
            member.sent.0 += u64::from(size != 0);
            member.sent.1 += size as u64;
        }
        out.flush(path, Load::Video);
    }
}

/// Whether a relay does not need a packet.
fn spares(spared: &[(SourceId, u8)], packet: &MediaPacket) -> bool {
    let at = spared.binary_search_by_key(&packet.source, |(source, _)| *source);
    at.is_ok_and(|at| packet.encoding >= spared[at].1)
}

fn reports(now: Instant, room: &Room, members: &mut Members, out: &mut Out, report: &Report) {
    let mut packet = Vec::with_capacity(64);
    for place in room.receivers.iter().chain(&room.relays) {
        let Some(member) = members.get_mut(*place) else { continue };
        let (Some(path), Some(receiver)) = (member.path, &mut member.receiver) else { continue };
        for (ssrc, offset) in &report.lines {
            if receiver.line_report(now, *ssrc, *offset, &report.info, &mut packet) {
                out.sealed_control(path, &packet);
            }
        }
        if report.kind == MediaKind::Audio {
            continue;
        }
        let slot = receiver
            .slots
            .iter()
            .position(|it| it.subscription.current().is_some_and(|current| current.source == report.source));
        if let Some(slot) = slot
            && receiver.video_report(now, slot, report.ssrc, &report.info, &mut packet)
        {
            out.sealed_control(path, &packet);
        }
    }
}
