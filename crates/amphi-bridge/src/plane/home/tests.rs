//! A home without sockets: what one publisher or relay may cost others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::ids::{ConferenceId, EndpointId, MediaKind, SourceId};
use amphi_media::rtcp::{SenderInfo, Writer};
use amphi_media::rtp::{ExtensionMap, Header};
use amphi_media::source::{Signaled, SourceDesc};
use amphi_media::speech::SpeechConfig;

use super::super::command::{Codec, CreateConference, Media, PayloadType, Role};
use super::super::shard::Item;
use super::super::stats::Counters;
use super::Home;

const MS: Duration = Duration::from_millis(1);

fn home(now: Instant) -> Home {
    let id = ConferenceId(1);
    Home::new(
        now,
        Arc::new(CreateConference { id, feedback_audio: 11, feedback_video: 12, speech: SpeechConfig::default() }),
    )
}

fn media() -> Arc<Media> {
    let number = 111;
    let opus = PayloadType {
        number,
        codec: Codec::Opus,
        clock_rate: 48_000,
        nack: false,
        pli: false,
        fir: false,
        transport_cc: false,
    };
    Arc::new(Media {
        accepts_audio: true,
        accepts_video: true,
        ssrc_rewriting: true,
        payload_types: [opus].into_iter().collect(),
        extensions: ExtensionMap::new(),
    })
}

fn audio(owner: EndpointId, id: u32, ssrc: u32) -> SourceDesc {
    let name = format!("source-{id}").into();
    let (id, kind, ssrcs) = (SourceId(id), MediaKind::Audio, vec![ssrc]);
    SourceDesc::new(owner, Signaled { id, name, kind, video_type: None, ssrcs, groups: Vec::new(), synthetic: false })
}

/// A home with somebody who publishes audio on SSRC 21.
fn with_speaker(now: Instant) -> (Home, EndpointId) {
    let (mut home, speaker) = (home(now), EndpointId(1));
    home.add(now, speaker, Role::Participant, media());
    home.set_sources(now, speaker, &[audio(speaker, 1, 21)]);
    (home, speaker)
}

fn sender_reports(count: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    for _ in 0..count {
        let info = SenderInfo { ntp: 1 << 40, rtp_timestamp: 5, packets: 6, octets: 7 };
        Writer::new(&mut packet).sender_report(21, &info, &[]).unwrap();
    }
    packet
}

#[test]
fn sender_reports_are_forwarded_at_most_every_200_ms() {
    let now = Instant::now();
    let (mut home, speaker) = with_speaker(now);
    let mut forwarded = Vec::new();
    for ms in [0, 10, 199, 200, 399, 1_000] {
        home.control(now + MS * ms, speaker, &sender_reports(50));
        let reports = home.take_items().into_iter().filter(|it| matches!(it, Item::Report(_)));
        forwarded.push(reports.count());
    }
    assert_eq!(forwarded, [1, 0, 0, 1, 0, 1]);
    assert_eq!(home.counters().rtcp_limited, 297);
}

/// A packet of Opus.
fn hear(home: &mut Home, now: Instant, from: EndpointId, ssrc: u32, seq: u16) {
    let mut packet = vec![0x80, 111];
    packet.extend(seq.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1, 2, 3]);
    let header = Header::parse(&packet).unwrap();
    home.rtp(now, from, &header, &packet, false, &mut Counters::default());
}

/// Numbers of the audio that came out since the last time.
fn numbers(home: &mut Home) -> Vec<u64> {
    let items = home.take_items().into_iter();
    items.filter_map(|it| if let Item::Audio(it) = it { Some(it.plain.seq) } else { None }).collect()
}

#[test]
fn who_publishes_after_many_others_is_heard_and_no_number_comes_again() {
    let now = Instant::now();
    let (mut home, speaker) = with_speaker(now);
    hear(&mut home, now, speaker, 21, 40_000);
    let first = numbers(&mut home);
    assert_eq!(first.len(), 1);
    for ssrc in 100..100 + 2 * super::MAX_SSRCS as u32 {
        home.set_sources(now, speaker, &[audio(speaker, ssrc, ssrc)]);
        hear(&mut home, now, speaker, ssrc, 7);
        assert_eq!(numbers(&mut home).len(), 1, "{ssrc}");
    }
    home.set_sources(now, speaker, &[audio(speaker, 1, 21)]);
    hear(&mut home, now, speaker, 21, 40_000);
    let again = numbers(&mut home);
    assert!(again[0] > first[0], "{again:?} after {first:?}");
}

#[test]
fn who_waits_for_an_ssrc_gets_it_when_its_holder_leaves() {
    let now = Instant::now();
    let (mut home, speaker) = with_speaker(now);
    let other = EndpointId(2);
    home.add(now, other, Role::Participant, media());
    home.set_sources(now, other, &[audio(other, 2, 21)]);
    hear(&mut home, now, other, 21, 7);
    assert!(numbers(&mut home).is_empty(), "it is another's");
    hear(&mut home, now, speaker, 21, 9);
    assert_eq!(numbers(&mut home).len(), 1);
    home.remove(speaker);
    hear(&mut home, now, other, 21, 8);
    assert_eq!(numbers(&mut home).len(), 1);
    home.remove(other);
    assert!(home.waiting.is_empty() && home.ssrcs.is_empty());
}
