//! RTCP with publishers: sender reports from them; NACK, keyframe requests, reports and transport-wide feedback to them (`spec/bridge.md` 4.9).

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::egress::Line;
use amphi_media::ids::{EndpointId, MediaKind, SourceId};
use amphi_media::receive::Reception;
use amphi_media::rtcp::{
    Arrival, FirEntry, MAX_REPORT_BLOCKS, Packet, ReportBlock, TransportCcFeedback, Writer, compound,
};
use smallvec::SmallVec;

use super::Home;
use crate::plane::shard::{Item, Report};

/// Longest RTCP packet that we write, so that it fits the path with SRTP's trailer.
const MAX_CONTROL: usize = 1_100;

/// Sender reports of one SSRC are forwarded this often at most: each goes to every receiver, with a system call of its own. Browsers send one in a second.
const REPORT_REST: Duration = Duration::from_millis(200);

impl Home {
    /// How far away somebody is who may publish.
    pub(in crate::plane) fn rtt(&mut self, carrier: EndpointId, rtt: Duration) {
        let of_it = self.sources.values_mut().filter(|it| it.carrier == carrier && it.kind == MediaKind::Video);
        of_it.flat_map(|it| &mut it.encodings).for_each(|it| it.nacks.on_rtt(rtt));
    }

    /// RTCP that came on somebody's transport, opened.
    pub(in crate::plane) fn control(&mut self, now: Instant, carrier: EndpointId, data: &[u8]) {
        for packet in compound(data).flatten() {
            let Packet::SenderReport(report) = packet else { continue };
            let Some(place) = self.ssrcs.get(&report.ssrc).copied() else { continue };
            if place.carrier != carrier || place.rtx {
                continue;
            }
            let Some(source) = self.sources.get_mut(&place.source) else { continue };
            let Some(encoding) = source.encodings.get_mut(usize::from(place.encoding)) else { continue };
            encoding.statistics.on_sender_report(now, report.info.ntp);
            if encoding.reported.is_some_and(|at| now.saturating_duration_since(at) < REPORT_REST) {
                self.counters.rtcp_limited += 1;
                continue;
            }
            encoding.reported = Some(now);
            let kind = source.kind;
            let mut lines: SmallVec<[(u32, u32); 2]> = SmallVec::new();
            let slot = self.audio_slots.iter().position(|it| *it == Some(place.source));
            let slot = slot.and_then(|slot| self.audio_ssrcs.get(slot)).map(|it| it.ssrc);
            for ssrc in [Some(report.ssrc), slot].into_iter().flatten() {
                let carried = self.lines.get(&ssrc).and_then(Line::carries);
                if let Some((_, offset)) = carried.filter(|(it, _)| *it == place.source) {
                    lines.push((ssrc, offset));
                }
            }
            self.items.push(Item::Report(Arc::new(Report {
                source: place.source,
                ssrc: report.ssrc,
                info: report.info,
                kind,
                lines,
            })));
        }
    }

    /// One NACK with all packets of an encoding that are due.
    pub(super) fn ask_for(&mut self, now: Instant, carrier: EndpointId, source: SourceId, encoding: u8) {
        let Some(it) = self.sources.get_mut(&source).and_then(|it| it.encodings.get_mut(usize::from(encoding))) else {
            return;
        };
        let mut lost: SmallVec<[u16; 32]> = SmallVec::new();
        it.nacks.poll(now, |seq| lost.push(seq));
        if lost.is_empty() {
            return;
        }
        self.counters.nacks_sent += lost.len() as u64;
        let mut packet = Vec::with_capacity(128);
        if Writer::new(&mut packet).nack(self.config.feedback_video, it.ssrc, lost).is_ok() {
            self.control.push((carrier, packet));
        }
    }

    /// NACKs of packets that still did not come.
    pub(super) fn ask_again(&mut self, now: Instant) {
        let mut due: SmallVec<[(EndpointId, SourceId, u8); 8]> = SmallVec::new();
        for (id, source) in self.sources.iter().filter(|(_, it)| it.kind == MediaKind::Video) {
            let encodings = (0u8..).zip(&source.encodings);
            let late = encodings.filter(|(_, it)| it.nacks.poll_timeout().is_some_and(|at| at <= now));
            due.extend(late.map(|(encoding, _)| (source.carrier, *id, encoding)));
        }
        due.into_iter().for_each(|(carrier, source, encoding)| self.ask_for(now, carrier, source, encoding));
    }

    /// Keyframe requests whose time has come. They carry the primary SSRC: clients then key all encodings.
    pub(super) fn ask_keyframes(&mut self, now: Instant) {
        while let Some(due) = self.keyframes.poll(now) {
            let Some(source) = self.sources.get(&due.source) else { continue };
            let Some(ssrc) = source.encodings.first().map(|it| it.ssrc) else { continue };
            let carrier_id = source.carrier;
            let Some(carrier) = self.carriers.get_mut(&carrier_id) else { continue };
            let sender = self.config.feedback_video;
            let mut packet = Vec::with_capacity(64);
            let written = match carrier.keyframe_requests() {
                (true, _) => {
                    Writer::new(&mut packet).pli(sender, ssrc);
                    Ok(())
                }
                (false, true) => {
                    carrier.fir = carrier.fir.wrapping_add(1);
                    let entry = FirEntry { media_ssrc: ssrc, number: carrier.fir };
                    Writer::new(&mut packet).fir(sender, &[entry])
                }
                (false, false) => continue,
            };
            if written.is_ok() {
                self.counters.keyframes_requested += 1;
                self.control.push((carrier_id, packet));
            }
        }
    }

    /// Transport-wide feedback that is due: of one carrier now, or of all whose time has come.
    pub(super) fn send_arrivals(&mut self, now: Instant, only: Option<EndpointId>) {
        let sender_ssrc = self.config.feedback_video;
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (id, carrier) in &mut self.carriers {
            match only {
                Some(only) if only != *id => continue,
                None if carrier.arrivals.poll_timeout().is_none_or(|at| at > now) => continue,
                _ => {}
            }
            while let Some(batch) = carrier.arrivals.take(now) {
                let base_seq = batch.base_seq;
                arrivals.clear();
                arrivals.extend(
                    (base_seq..)
                        .zip(batch.arrivals())
                        .filter_map(|(seq, at)| Some(Arrival { seq, micros: i64::try_from(at?).unwrap_or(i64::MAX) })),
                );
                let feedback = TransportCcFeedback {
                    sender_ssrc,
                    media_ssrc: batch.media_ssrc,
                    base_seq,
                    feedback_count: batch.feedback_count,
                    arrivals: &arrivals,
                };
                let mut packet = Vec::with_capacity(256);
                // A batch is made to fit one packet; should it not, the rest is as if it were lost.
                Writer::new(&mut packet).transport_cc(&feedback, MAX_CONTROL);
                self.control.push((*id, packet));
            }
        }
    }

    /// Receiver reports about everything that came since the last ones.
    pub(super) fn send_reports(&mut self, now: Instant) {
        let mut blocks: Vec<(EndpointId, ReportBlock)> = Vec::new();
        for source in self.sources.values_mut() {
            let carrier = source.carrier;
            for it in &mut source.encodings {
                let media = it.statistics.report(now).map(|reception| (it.ssrc, reception));
                let rtx = it.rtx.zip(it.rtx_statistics.report(now));
                blocks.extend(media.into_iter().chain(rtx).map(|(ssrc, it)| (carrier, block(ssrc, &it))));
            }
        }
        blocks.sort_by_key(|(carrier, _)| *carrier);
        for of_one in blocks.chunk_by(|a, b| a.0 == b.0) {
            for part in of_one.chunks(MAX_REPORT_BLOCKS) {
                let list: SmallVec<[ReportBlock; 8]> = part.iter().map(|(_, block)| *block).collect();
                let mut packet = Vec::with_capacity(8 + 24 * list.len());
                if let Some((carrier, _)) = part.first()
                    && Writer::new(&mut packet).receiver_report(self.config.feedback_video, &list).is_ok()
                {
                    self.control.push((*carrier, packet));
                }
            }
        }
    }
}

fn block(ssrc: u32, it: &Reception) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: it.fraction_lost,
        cumulative_lost: it.cumulative_lost,
        highest_seq: it.highest_seq,
        jitter: it.jitter,
        last_sr: it.last_sr,
        delay_since_last_sr: it.delay_since_last_sr,
    }
}
