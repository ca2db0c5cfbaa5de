//! The load generator against a whole server: people publish and watch through focus and bridge, and straight through the bridge.

mod ports;

use std::process::Stdio;

use amphi_app::config::{Config, Layers};
use amphi_app::wire::App;
use serde_json::Value;

fn free() -> u16 {
    ports::free().port()
}

/// A server with everything, and the ports of its front and of client streams.
async fn server() -> (App, u16, u16) {
    let (front, c2s) = (free(), free());
    let data = std::env::temp_dir().join(format!("amphi-load-{}-{front}", std::process::id()));
    let text = format!(
        r#"data_dir = {data:?}
[listen]
front = "127.0.0.1:{front}"
c2s = "127.0.0.1:{c2s}"
admin = "off"
[bridge]
port = 0
listen = "off"
addresses = ["127.0.0.1"]
password = "all-bridges"
"#
    );
    let layers = Layers { file: Some(("amphi.toml".to_owned(), text)), ..Layers::default() };
    let config = Config::check(&layers.join().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    (App::start(config).await.unwrap(), front, c2s)
}

/// Runs the binary and returns its report. A slow machine may show freezes, so that the verdict of the whole is not asked for.
async fn load(arguments: String) -> Value {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_amphi"));
    command.args(["load", "media", "--quiet", "--json", "-", "--join-timeout", "60", "--settle", "1", "--turns", "1"]);
    let output = command.args(arguments.split_whitespace()).stderr(Stdio::inherit()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[track_caller]
fn watched(report: &Value, full: u64, sinks: u64) {
    let n = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {report}"));
    assert_eq!((n("/viewers/held"), n("/viewers/served")), (full + sinks, full + sinks), "{report}");
    assert_eq!((n("/quality/judged"), n("/quality/blank"), n("/quality/undecodable")), (full, 0, 0), "{report}");
    assert!(n("/quality/frames") > full * 20 && n("/quality/audio_packets") > full * 50, "{report}");
    assert_eq!(n("/traffic/forged"), 0, "{report}");
    assert!(n("/traffic/sampled") > 0 && n("/traffic/feedbacks") > sinks * 10, "{report}");
    assert_eq!(n("/joining/channels"), full + sinks + 1, "{report}");
    assert_eq!(n("/quality/delay/count"), n("/quality/packets"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_watch_through_focus_and_bridge() {
    let (app, front, _) = server().await;
    let report = load(format!(
        "--url ws://127.0.0.1:{front}/xmpp-websocket --conference-request http://127.0.0.1:{front}/conference-request/v1 \
         --full 3 --sinks 10 --seconds 5"
    ))
    .await;
    watched(&report, 3, 10);
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_alone_is_driven_by_colibri2_and_held_against_a_bare_loop() {
    let (app, _, c2s) = server().await;
    let report = load(format!(
        "--colibri 127.0.0.1:{c2s} --colibri-password all-bridges --creates 100 --connects 5 --full 1 --sinks 6 --seconds 2 --bare --server-pid {}",
        std::process::id()
    ))
    .await;
    watched(&report, 1, 6);
    let creates = &report["creates"];
    assert_eq!((creates["count"].as_u64(), creates["refused"].as_u64()), (Some(100), Some(0)));
    let connects = &report["connects"];
    assert_eq!((connects["count"].as_u64(), connects["failed"].as_u64()), (Some(5), Some(0)), "{report}");
    for it in [creates, connects] {
        assert!(it["cost"]["server_ms"].as_f64() > Some(0.0) && it["cost"]["per_server_core"].is_f64(), "{it}");
    }
    let turn = &report["bare"]["turns"][0];
    assert!(turn["bridge_us_per_packet"].as_f64() > Some(0.0), "{turn}");
    assert!(turn["bare"]["received"].as_u64() > Some(500), "{turn}");
    app.drain().await;
}
