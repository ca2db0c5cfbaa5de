use super::*;

fn update(text: &str) -> ConstraintsUpdate {
    match parse(text) {
        Ok(Incoming::VideoConstraints(update)) => update,
        other => panic!("{other:?}"),
    }
}

#[test]
fn constraints_are_partial_and_whole_lists_replace() {
    let it = update(
        r#"{"colibriClass":"ReceiverVideoConstraints","lastN":25,"selectedSources":["c0ffee01-v0"],"onStageSources":["77aa01ff-v1"],
        "defaultConstraints":{"maxHeight":180},"constraints":{"77aa01ff-v1":{"maxHeight":1080,"maxFrameRate":30.0}},"assumedBandwidthBps":-1}"#,
    );
    assert_eq!(it.last_n, Some(25));
    assert_eq!(it.selected, Some(vec!["c0ffee01-v0".into()]));
    assert_eq!(it.on_stage, Some(vec!["77aa01ff-v1".into()]));
    assert_eq!(it.default_max_height, Some(180));
    assert_eq!(it.max_heights, Some(vec![("77aa01ff-v1".into(), 1080)]));
    assert_eq!(it.assumed_bandwidth, Some(-1));
    let first = update(r#"{"assumedBandwidthBps":-1,"lastN":-1,"colibriClass":"ReceiverVideoConstraints"}"#);
    assert_eq!((first.last_n, first.on_stage, first.max_heights), (Some(-1), None, None));
    assert_eq!(update(r#"{"colibriClass":"LastNChangedEvent","lastN":7}"#).last_n, Some(7));
    assert_eq!(update(r#"{"colibriClass":"ReceiverVideoConstraints","constraints":{}}"#).max_heights, Some(vec![]));
}

#[test]
fn other_negative_limits_make_the_whole_message_invalid() {
    for bad in [
        r#"{"colibriClass":"ReceiverVideoConstraints","lastN":5,"constraints":{"a-v0":{"maxHeight":-2}}}"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"maxFrameRate":-0.5}}"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","lastN":-7}"#,
    ] {
        assert!(matches!(parse(bad), Err(MessageError::Value { .. })), "{bad}");
    }
}

#[test]
fn hostile_text_is_an_error() {
    let long = format!(r#"{{"colibriClass":"EndpointMessage","msgPayload":"{}"}}"#, "x".repeat(MAX_MESSAGE));
    assert!(matches!(parse(&long), Err(MessageError::TooLong(_))));
    let deep =
        format!(r#"{{"colibriClass":"EndpointMessage","msgPayload":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    let _ = parse(&deep);
    let many: String = (0..600).map(|i| format!(r#","k{i}":1"#)).collect();
    let wide = format!(r#"{{"colibriClass":"EndpointStats"{many}}}"#);
    let longname = format!(r#"{{"colibriClass":"ReceiverVideoConstraints","onStageSources":["{}"]}}"#, "n".repeat(200));
    for bad in [
        "",
        "null",
        "[]",
        "{",
        r#"{"a":1}"#,
        r#"{"colibriClass":7}"#,
        r#"{"colibriClass":"ClientHello","colibriClass":"ClientHello"}"#,
        r#"{"colibriClass":"ClientHello","a":1,"\u0061":2}"#,
        r#"{"colibriClass":"ClientHello"} x"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","constraints":{"a":{"maxHeight":1},"a":{"maxHeight":2}}}"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","constraints":{"a":{"maxHeight":1,"maxHeight":2}}}"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","constraints":[]}"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","lastN":1e99}"#,
        r#"{"colibriClass":"ReceiverVideoConstraints","onStageSources":[1]}"#,
        r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"a-v0","videoType":"cinema"}"#,
        r#"{"colibriClass":"SourceVideoTypeMessage","videoType":"camera"}"#,
        r#"{"colibriClass":"AddReceiver","bridgeId":"b","sourceName":"a-v0"}"#,
        r#"{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"maybe"}"#,
        &wide,
        &longname,
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(matches!(parse(r#"{"colibriClass":"Selfie"}"#), Err(MessageError::UnknownClass(it)) if it == "Selfie"));
}

#[test]
fn unknown_fields_are_ignored() {
    assert_eq!(parse(r#"{"x":{},"colibriClass":"ClientHello","y":[1]}"#).ok(), Some(Incoming::ClientHello));
}

#[test]
fn what_endpoints_say_passes_as_it_came_with_its_true_sender() {
    let text = r#"{"colibriClass":"EndpointMessage","to":"c0ffee01","from":"liar","msgPayload":{"n":12345678901234567890123,"d":{"d":1}},"x":null}"#;
    let Ok(Incoming::EndpointMessage { to, from, fields }) = parse(text) else { panic!() };
    assert_eq!((to.as_deref(), from.as_deref()), (Some("c0ffee01"), Some("liar")));
    let out = write(&Outgoing::EndpointMessage { from: "77aa\"01".into(), fields }, None);
    assert_eq!(
        &*out,
        r#"{"colibriClass":"EndpointMessage","from":"77aa\"01","to":"c0ffee01","msgPayload":{"n":12345678901234567890123,"d":{"d":1}},"x":null}"#
    );
    let Ok(Incoming::EndpointMessage { to: None, .. }) = parse(r#"{"colibriClass":"EndpointMessage","to":""}"#) else {
        panic!("an empty receiver is everybody")
    };
    let Ok(Incoming::EndpointStats { fields, .. }) = parse(r#"{"colibriClass":"EndpointStats"}"#) else { panic!() };
    let out = write(&Outgoing::EndpointStats { from: "a".into(), fields }, None);
    assert_eq!(&*out, r#"{"colibriClass":"EndpointStats","from":"a"}"#);
}

#[test]
fn audio_subscriptions_in_both_forms() {
    let wants = |text: &str| match parse(text) {
        Ok(Incoming::AudioSubscription(it)) => {
            [it.wants("a-a0", false), it.wants("b-a0", false), it.wants("c-a0.fr", true)]
        }
        other => panic!("{other:?}"),
    };
    let form = |rest: &str| format!(r#"{{"colibriClass":"ReceiverAudioSubscription",{rest}}}"#);
    assert_eq!(wants(&form(r#""all":true,"include":["c-a0.fr"],"exclude":["b-a0"]"#)), [true, false, true]);
    assert_eq!(wants(&form(r#""all":true"#)), [true, true, false]);
    assert_eq!(wants(&form(r#""mode":"Include","list":["a-a0"]"#)), [true, false, false]);
    assert_eq!(wants(&form(r#""mode":"Exclude","list":["a-a0"]"#)), [false, true, false]);
    assert_eq!(wants(&form(r#""mode":"None""#)), [false, false, false]);
    assert!(parse(&form(r#""mode":"Some""#)).is_err());
}

#[test]
fn messages_are_written_as_clients_read_them() {
    let mapped = |rtx, video_type, mid| Mapped {
        source: "77aa01ff-v1".into(),
        owner: "77aa01ff".into(),
        ssrc: 3_120_045_512,
        rtx,
        video_type,
        mid,
    };
    let cases = [
        (Outgoing::ServerHello, r#"{"colibriClass":"ServerHello","version":"2.3.180"}"#),
        (
            Outgoing::SenderConstraints { source: "77aa01ff-v0".into(), max_height: -1 },
            r#"{"colibriClass":"SenderSourceConstraints","sourceName":"77aa01ff-v0","maxHeight":-1}"#,
        ),
        (
            Outgoing::ForwardedSources(Arc::new(["77aa01ff-v1".into()])),
            r#"{"colibriClass":"ForwardedSources","forwardedSources":["77aa01ff-v1"]}"#,
        ),
        (
            Outgoing::VideoSourcesMap(vec![mapped(Some(920_113_377), Some(VideoType::Desktop), Some(3))]),
            r#"{"colibriClass":"VideoSourcesMap","mappedSources":[{"source":"77aa01ff-v1","owner":"77aa01ff","ssrc":3120045512,"rtx":920113377,"videoType":"DESKTOP","mid":"v3"}]}"#,
        ),
        (
            Outgoing::AudioSourcesMap(vec![mapped(None, None, None)]),
            r#"{"colibriClass":"AudioSourcesMap","mappedSources":[{"source":"77aa01ff-v1","owner":"77aa01ff","ssrc":3120045512}]}"#,
        ),
        (
            Outgoing::DominantSpeaker {
                dominant: "77aa01ff".into(),
                previous: vec!["c0ffee01".into()],
                silence: false,
            },
            r#"{"colibriClass":"DominantSpeakerEndpointChangeEvent","dominantSpeakerEndpoint":"77aa01ff","previousSpeakers":["c0ffee01"],"silence":false}"#,
        ),
        (
            Outgoing::Connectivity { endpoint: "77aa01ff".into(), active: false },
            r#"{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"77aa01ff","active":"false"}"#,
        ),
        (
            Outgoing::ConnectionStats { bandwidth: 3_120_000 },
            r#"{"colibriClass":"ConnectionStats","estimatedDownlinkBandwidth":3120000}"#,
        ),
        (
            Outgoing::SyntheticSending { source: "77aa01ff-a0.fr".into(), sending: true, timestamp: 90_412_233 },
            r#"{"colibriClass":"SyntheticSourceSendingChangeEvent","sourceName":"77aa01ff-a0.fr","sending":true,"timestamp":90412233}"#,
        ),
        (
            Outgoing::VideoType { endpoint: "e".into(), source: "e-v0".into(), video_type: VideoType::DesktopHighFps },
            r#"{"colibriClass":"SourceVideoTypeMessage","endpointId":"e","sourceName":"e-v0","videoType":"DESKTOP_HIGH_FPS"}"#,
        ),
        (
            Outgoing::AddReceiver {
                bridge: "edge-17.example.com".into(),
                source: "77aa01ff-v0".into(),
                max_height: 720,
            },
            r#"{"colibriClass":"AddReceiver","bridgeId":"edge-17.example.com","sourceName":"77aa01ff-v0","videoConstraints":{"maxHeight":720,"maxFrameRate":-1.0}}"#,
        ),
    ];
    for (message, text) in cases {
        assert_eq!(&*write(&message, Some("2.3.180")), text);
    }
    assert_eq!(&*write(&Outgoing::ServerHello, None), r#"{"colibriClass":"ServerHello"}"#);
}

#[test]
fn what_one_bridge_writes_another_reads() {
    let read = |message: Outgoing| parse(&write(&message, None)).ok();
    assert_eq!(
        read(Outgoing::AddReceiver { bridge: "b".into(), source: "a-v0".into(), max_height: -1 }),
        Some(Incoming::AddReceiver { bridge: "b".into(), source: "a-v0".into(), max_height: -1 })
    );
    assert_eq!(
        read(Outgoing::Connectivity { endpoint: "a".into(), active: true }),
        Some(Incoming::Connectivity { endpoint: "a".into(), active: true })
    );
    assert_eq!(
        read(Outgoing::VideoType { endpoint: "a".into(), source: "a-v0".into(), video_type: VideoType::None }),
        Some(Incoming::VideoType {
            endpoint: Some("a".into()),
            source: Some("a-v0".into()),
            video_type: VideoType::None
        })
    );
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in ".{0,200}", class in "[A-Za-z]{0,24}") {
        let _ = parse(&text);
        let _ = parse(&format!(r#"{{"colibriClass":"{class}",{text}}}"#));
    }
}
