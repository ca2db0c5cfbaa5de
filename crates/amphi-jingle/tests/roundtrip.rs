//! What is written is read back as it was, and what others send is read within bounds and without panic.

use amphi_jingle::colibri2::*;
use amphi_jingle::*;
use amphi_stanza::{Stanza, XmlWriter};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9<>&'\"\\\\ äß.:/-]{0,10}[a-z]"
}

fn formats() -> impl Strategy<Value = Formats> {
    let parameter = (of(word()), word()).prop_map(|(name, value)| Parameter { name, value });
    let feedback = (word(), of(word())).prop_map(|(ty, subtype)| Feedback { ty, subtype });
    let pt = (0u8..128, word(), any::<u32>(), any::<u8>(), vec(parameter, 0..3), vec(feedback, 0..3)).prop_map(
        |(id, name, clockrate, channels, parameters, feedback)| PayloadType {
            id,
            name,
            clockrate,
            channels,
            parameters,
            feedback,
        },
    );
    let ext = (1u8.., word()).prop_map(|(id, uri)| HeaderExtension { id, uri });
    (vec(pt, 0..4), vec(ext, 0..4), any::<bool>()).prop_map(|(payload_types, extensions, extmap_allow_mixed)| Formats {
        payload_types,
        extensions,
        extmap_allow_mixed,
    })
}

fn ice() -> impl Strategy<Value = IceTransport> {
    let candidate = (any::<u8>(), word(), any::<u32>(), word(), any::<u16>(), of(any::<u16>()), of(word())).prop_map(
        |(component, foundation, priority, ip, port, rel_port, rel_addr)| Candidate {
            component,
            foundation,
            generation: 1,
            id: "x".into(),
            ip,
            network: 0,
            port,
            priority,
            protocol: "udp".into(),
            ty: "host".into(),
            rel_addr,
            rel_port,
            tcptype: None,
        },
    );
    let setup =
        prop_oneof![Just(None), Just(Some(Setup::Active)), Just(Some(Setup::Passive)), Just(Some(Setup::Actpass))];
    let fingerprint = ("[A-F0-9:]{2,20}", setup, any::<bool>()).prop_map(|(value, setup, cryptex)| Fingerprint {
        hash: "sha-256".into(),
        value,
        setup,
        cryptex,
    });
    let ws = (of(word()), any::<bool>()).prop_map(|(url, active)| WebSocket { url, active });
    let sctp = (any::<u16>(), word(), any::<u32>()).prop_map(|(number, protocol, streams)| SctpMap {
        number,
        protocol,
        streams,
    });
    let parts = (of(word()), of(word()), of(any::<u32>()), vec(candidate, 0..3), vec(fingerprint, 0..2));
    (parts, vec(ws, 0..2), of(sctp), any::<bool>()).prop_map(
        |((ufrag, pwd, generation, candidates, fingerprints), web_sockets, sctpmap, rtcp_mux)| {
            let mut t = IceTransport {
                ufrag,
                pwd,
                other: vec![("x-later".into(), "1".into())],
                candidates,
                fingerprints,
                web_sockets,
                sctpmap,
                rtcp_mux,
            };
            if let Some(g) = generation {
                t.set_ice_generation(g);
            }
            t
        },
    )
}

fn media_sources(plain: bool) -> impl Strategy<Value = MediaSources> {
    let video_type = prop_oneof![Just(None), Just(Some(VideoType::Desktop))];
    let source = (1u32.., of(word()), of(word()), of(word()), video_type).prop_map(
        move |(ssrc, name, msid, owner, video_type)| Source {
            ssrc,
            name,
            video_type,
            msid: msid.filter(|_| !plain),
            owner: owner.filter(|_| !plain),
        },
    );
    let semantics = prop_oneof![Just(Semantics::Sim), Just(Semantics::Fid)];
    let group = (semantics, vec(1u32.., 0..4)).prop_map(|(semantics, ssrcs)| SsrcGroup { semantics, ssrcs });
    (vec(source, 0..4), vec(group, 0..3)).prop_map(|(sources, groups)| MediaSources { sources, groups })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let media = (any::<bool>(), formats())
        .prop_map(|(a, formats)| Media { ty: if a { MediaType::Audio } else { MediaType::Video }, formats });
    let sctp = (prop_oneof![Just(None), Just(Some(SctpRole::Client)), Just(Some(SctpRole::Server))], of(any::<u16>()))
        .prop_map(|(role, port)| Sctp { role, port });
    let transport = (any::<[bool; 3]>(), of(ice()), of(sctp)).prop_map(|(b, ice, sctp)| Transport {
        ice_controlling: b[0],
        use_unique_port: b[1],
        ice_restart: b[2],
        ice,
        sctp,
    });
    let source = (word(), media_sources(true)).prop_map(|(id, media)| MediaSource {
        ty: MediaType::Video,
        id,
        synthetic: false,
        media,
    });
    let mute = any::<[bool; 2]>().prop_map(|b| ForceMute { audio: b[0], video: b[1] });
    let parts = (word(), any::<[bool; 8]>(), of(word()), vec(media, 0..3), of(transport));
    (parts, of(vec(source, 0..3)), of(mute), of(any::<i32>())).prop_map(
        |((id, b, stats_id, media, transport), sources, force_mute, initial_last_n)| Endpoint {
            id,
            create: b[0],
            expire: b[1],
            stats_id,
            visitor: b[2],
            diarize: b[3],
            media: media.into(),
            media_text: None,
            transport,
            sources,
            force_mute,
            capabilities: Capabilities {
                source_names: b[4],
                ssrc_rewriting: b[5],
                rtp_mid_demux: b[6],
                private_addresses: b[7],
            },
            initial_last_n,
        },
    )
}

fn written(write: impl FnOnce(&mut XmlWriter)) -> Stanza {
    let mut w = XmlWriter::new();
    write(&mut w);
    w.stanza()
}

fn modify() -> impl Strategy<Value = ConferenceModify> {
    let relay = (word(), of(word()), vec(endpoint(), 0..3), any::<bool>())
        .prop_map(|(id, mesh_id, endpoints, create)| Relay { id, create, mesh_id, endpoints, ..Relay::default() });
    let connect = (of(word()), vec(word(), 0..2), vec(word(), 0..2)).prop_map(|(id, exports, requests)| Connect {
        id,
        create: true,
        expire: false,
        url: "wss://x/y?a=1&b=2".into(),
        protocol: "mediajson".into(),
        ty: ConnectType::Translator,
        audio: true,
        video: false,
        headers: vec![("X-A".into(), "b".into())],
        ping: Some(Ping { interval: 10_000, timeout: 3000 }),
        exports,
        requests,
    });
    let parts = (word(), of(word()), any::<[bool; 3]>());
    (parts, vec(endpoint(), 0..3), vec(relay, 0..2), of(vec(connect, 0..2))).prop_map(
        |((meeting_id, name, b), endpoints, relays, connects)| ConferenceModify {
            meeting_id,
            name,
            rtcstats_disabled: b[0],
            create: b[1],
            expire: b[2],
            endpoints,
            relays,
            connects,
            trace: None,
        },
    )
}

fn jingle() -> impl Strategy<Value = Jingle> {
    let content = (word(), formats(), media_sources(false), of(ice()), of(any::<i32>())).prop_map(
        |(name, formats, sources, transport, initial_last_n)| Content {
            name,
            creator: Some("responder".into()),
            senders: None,
            description: Some(Description { media: Some("video".into()), maxptime: Some(60), formats, rtcp_mux: true }),
            sources,
            transport,
            initial_last_n,
        },
    );
    let session = (of(word()), of(word()), any::<[bool; 2]>()).prop_map(|(id, region, b)| BridgeSession {
        id,
        region,
        restart: b[0],
        ice_restart: b[1],
    });
    (0..Action::ALL.len(), word(), of(word()), vec(content, 0..3), of(session)).prop_map(
        |(action, sid, initiator, contents, bridge_session)| Jingle {
            initiator,
            contents,
            bridge_session,
            bundle: Some(vec!["audio".into()]),
            start_muted: Some(StartMuted { audio: true, video: false }),
            reason: Some(Reason::new("success", "mov<ing")),
            trace: Some(Trace { trace_id: "t".into(), parent_id: "p".into(), trace_flags: None }),
            ..Jingle::new(Action::ALL[action], sid)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_request_is_read_as_it_was_written(m in modify()) {
        let s = written(|w| m.write(w));
        prop_assert_eq!(ConferenceModify::parse(s.root(), &Limits::default()).unwrap(), m);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(m in modify(), with_sources in any::<bool>()) {
        let sources = with_sources.then(|| m.endpoints.iter().flat_map(|e| e.sources.clone().unwrap_or_default()).collect());
        let m = ConferenceModified { sources, endpoints: m.endpoints, relays: m.relays };
        let s = written(|w| m.write(w));
        prop_assert_eq!(ConferenceModified::parse(s.root(), &Limits::default()).unwrap(), m);
    }

    #[test]
    fn a_jingle_element_is_read_as_it_was_written(j in jingle()) {
        let s = written(|w| j.write(w));
        prop_assert_eq!(Jingle::parse(s.root(), &Limits::default()).unwrap(), j);
    }

    #[test]
    fn compact_sources_are_read_as_they_were_written(
        all in proptest::collection::btree_map(word(), (media_sources(false), media_sources(false)), 0..4)
    ) {
        let map: SourceMap = all
            .into_iter()
            .map(|(o, (audio, video))| {
                let mut set = SourceSet { audio, video };
                set.audio.sources.iter_mut().chain(&mut set.video.sources).for_each(|s| s.owner = None);
                (o, set)
            })
            .collect();
        let text = json::to_json(map.iter().map(|(o, s)| (o.as_str(), s)));
        prop_assert_eq!(json::from_json(&text, &Limits::default()).unwrap().unwrap(), map);
    }

    #[test]
    fn no_json_panics(text in r#"[\[\]{}":,snmvf0-9a-z]{0,60}"#) {
        let _ = json::from_json(&text, &Limits::default());
        let _ = json::from_json(&format!(r#"{{"sources":{{"a":{text}}}}}"#), &Limits::default());
    }
}
