//! The whole generator against the tiny server, in one process.

#[path = "tiny_server/mod.rs"]
mod tiny_server;

use std::{net::TcpListener, sync::Arc};

use amphi_load::{LoadArgs, LoadCommand, Report, SignalingArgs, run_signaling};
use clap::Parser;
use tiny_server::{Fault, server};

/// Puts TLS in front of a server; returns the port and the certificate.
fn with_tls(plain: u16) -> (u16, String) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outer = acceptor.accept(socket).await.ok()?;
                    let mut inner = tokio::net::TcpStream::connect(("127.0.0.1", plain)).await.ok()?;
                    tokio::io::copy_bidirectional(&mut outer, &mut inner).await.ok()
                });
            }
        });
    });
    (port, own.cert.pem())
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    load: LoadArgs,
}

fn args(port: u16, more: &str) -> SignalingArgs {
    let strict = if more.contains("--strict-every") { "" } else { "--strict-every 1" };
    let settle = if more.contains("--settle") { "" } else { "--settle 0" };
    let text = format!(
        "load signaling --url ws://127.0.0.1:{port}/xmpp-websocket --conference-request \
         http://127.0.0.1:{port}/conference-request/v1 --room town --line-rate 0 --presence-rate 0 --drain 1 --quiet \
         {more} {strict} {settle}"
    );
    let LoadCommand::Signaling(args) = Cli::try_parse_from(text.split_whitespace()).unwrap().load.command else {
        panic!("not signaling");
    };
    *args
}

fn run(fault: Fault, more: &str) -> Report {
    run_signaling(&args(server(fault), more)).unwrap()
}

#[test]
fn everybody_joins_and_gets_every_line_and_presence() {
    let report =
        run(Fault::None, "--stage 3 --audience 30 --lines 9 --presence 5 --threads 2 --sources 127.0.0.1,127.0.0.2");
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    assert_eq!((report.joins.joined, report.joins.nodes[""], report.joins.nodes["v1"]), (33, 3, 30));
    assert_eq!((report.chat.sent, report.chat.received), (9, 9 * 33));
    assert_eq!((report.presence.sent, report.presence.received), (5, 5 * 33));
    assert_eq!(report.chat.last.count, 9);
    assert_eq!(report.echo.count, 9);
    assert!(report.joins.latency.count == 33 && report.joins.per_second > 0.0);
}

/// Needs some 14,000 descriptors; run by hand: `cargo test -p amphi-load --test engine -- --ignored --nocapture`.
#[test]
#[ignore = "opens thousands of connections"]
fn three_thousand_visitors_get_every_line() {
    let report =
        run(Fault::None, "--stage 2 --audience 3000 --lines 20 --concurrency 200 --strict-every 100 --settle 1");
    println!("{report}");
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    assert_eq!(report.chat.received, 20 * 3_002);
}

#[test]
fn a_lost_line_fails_the_run() {
    let report = run(Fault::LosesALine, "--stage 1 --audience 4 --lines 3");
    assert_eq!((report.ok, report.chat.lost, report.chat.duplicated), (false, 1, 0), "{:?}", report.problems);
}

#[test]
fn a_repeated_line_fails_the_run() {
    let report = run(Fault::RepeatsALine, "--stage 1 --audience 4 --lines 3");
    assert_eq!((report.ok, report.chat.lost, report.chat.duplicated), (false, 0, 1), "{:?}", report.problems);
}

#[test]
fn malformed_xml_fails_the_run() {
    let report = run(Fault::SpoilsXml, "--stage 1 --audience 4 --lines 3");
    assert_eq!((report.ok, report.traffic.malformed), (false, 1), "{:?}", report.problems);
}

#[test]
fn refused_connections_are_counted_and_fail_the_run() {
    let report = run(Fault::RefusesOne, "--stage 1 --audience 2 --lines 1 --retries 0");
    assert_eq!(
        (report.ok, report.joins.refused_connections, report.joins.failed),
        (false, 1, 1),
        "{:?}",
        report.errors
    );
    assert_eq!(report.errors["websocket upgrade: HTTP 503"], 1);
}

#[test]
fn waiting_for_admission_counts_into_the_join() {
    let report = run(Fault::NotReadyAtFirst, "--stage 1 --audience 0 --lines 1");
    assert!(report.ok, "{:?}", report.problems);
    assert_eq!(report.joins.not_ready, 2);
    assert!(report.joins.latency.max_ms.unwrap() >= 3_000.0 && report.joins.entry.max_ms.unwrap() < 3_000.0);
}

#[test]
fn the_audience_chats_too_and_everybody_gets_it() {
    let report = run(
        Fault::None,
        "--stage 1 --audience 12 --lines 2 --audience-chat 100 --audience-speakers 4 --hold 0.4 --threads 2",
    );
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    assert!(report.chat.sent > 10, "{}", report.chat.sent);
    assert_eq!(report.chat.received, report.chat.sent * 13);
}

#[test]
fn a_probe_measures_its_own_echo() {
    let report = run(Fault::None, "--probe --probe-samples 40 --probe-interval 1 --probe-clients 2");
    assert!(report.ok, "{:?}", report.problems);
    assert_eq!(report.echo.count, 40);
}

#[test]
fn tls_is_spoken_to_servers_with_a_certificate_of_the_given_authority_or_any() {
    let (port, pem) = with_tls(server(Fault::None));
    let report = run_signaling(&args(port, "--tls --stage 2 --audience 10 --lines 4")).unwrap();
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    let mut args = args(port, "--tls --stage 1 --audience 0 --lines 1 --retries 0");
    let file = std::env::temp_dir().join(format!("load-ca-{}.pem", std::process::id()));
    std::fs::write(&file, pem).unwrap();
    args.ca = Some(file.clone());
    let report = run_signaling(&args).unwrap();
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    // Another authority: nobody gets in, and the reason is told.
    std::fs::write(&file, rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap().cert.pem()).unwrap();
    let report = run_signaling(&args).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(!report.ok && report.errors.keys().any(|e| e.contains("certificate")), "{:?}", report.errors);
}

#[test]
fn many_rooms_fill_and_empty_and_everybody_gets_the_lines_of_the_own_room() {
    let port = server(Fault::None);
    let more = format!(
        "--rooms 5 --cycles 3 --stage 3 --audience 2 --threads 2 --metrics http://127.0.0.1:{port}/metrics \
         --rooms-gauge tiny_rooms --server-pid {}",
        std::process::id()
    );
    let report = run_signaling(&args(port, &more)).unwrap();
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    let rooms = report.rooms.unwrap();
    assert_eq!((rooms.rooms, rooms.people, rooms.cycles.len()), (5, 5, 3));
    for c in &rooms.cycles {
        assert_eq!((c.joined, c.lines, c.expected, c.received), (25, 15, 75, 75), "cycle {}", c.cycle);
        assert_eq!((c.unclosed, c.rooms_left, c.latency.count), (0, Some(0), 25));
        assert!(c.emptied_seconds.is_some() && c.joins_per_second > 0.0 && c.rss_peak >= Some(1));
    }
    let floor = |n: usize| rooms.cycles[n].rss_floor.unwrap() as f64;
    assert_eq!(rooms.floor_ratio, Some(floor(2) / floor(0)));
    assert_eq!((report.joins.joined, report.chat.sent, report.chat.last.count), (75, 45, 45));
}

#[test]
fn a_line_lost_in_one_of_many_rooms_fails_the_run() {
    let report = run(Fault::LosesALine, "--rooms 1 --cycles 2 --stage 3 --pause 0");
    assert_eq!((report.ok, report.chat.lost), (false, 1), "{:?}", report.problems);
    let cycles = report.rooms.unwrap().cycles;
    assert_eq!((cycles[0].lost, cycles[0].received, cycles[1].lost, cycles[1].received), (1, 8, 0, 9));
}

#[test]
fn a_line_in_a_wrong_room_fails_the_run() {
    let report = run(Fault::CrossesRooms, "--rooms 3 --stage 2 --pause 0");
    assert_eq!((report.ok, report.traffic.strays, report.chat.lost), (false, 4, 0), "{:?}", report.problems);
    assert_eq!(report.rooms.unwrap().cycles[0].strays, 4);
}

#[test]
fn who_does_not_get_into_one_of_many_rooms_fails_the_run() {
    let report = run(Fault::RefusesOne, "--rooms 2 --stage 2 --pause 0 --retries 0");
    assert!(!report.ok);
    let cycle = &report.rooms.unwrap().cycles[0];
    assert_eq!((cycle.joined, cycle.failed, cycle.refused_connections), (2, 2, 2), "{:?}", report.problems);
}

#[test]
fn a_storm_connects_everybody_at_once() {
    let report = run(Fault::None, "--storm --stage 1 --audience 200 --lines 1 --sources 127.0.0.1,127.0.0.2");
    assert!(report.ok, "{:?} {:?}", report.problems, report.errors);
    let storm = report.storm.unwrap();
    assert_eq!((storm.at_once, storm.refused_connections, storm.own_errors), (200, 0, 0));
    assert!(storm.all_in_seconds.is_some_and(|s| s > 0.0) && storm.connect.count == 201);
    let report = run(Fault::RefusesOne, "--storm --stage 1 --audience 5 --lines 1 --retries 0");
    let storm = report.storm.unwrap();
    assert_eq!((report.ok, storm.refused_connections, storm.all_in_seconds), (false, 4, None));
}

#[test]
fn a_source_without_this_machine_is_the_generators_own_fault() {
    let report = run(Fault::None, "--storm --stage 1 --audience 2 --lines 1 --retries 0 --sources 192.0.2.1");
    assert!(!report.ok && report.traffic.connects == 0);
    let storm = report.storm.unwrap();
    assert_eq!((storm.refused_connections, storm.own_errors > 0), (0, true), "{:?}", report.errors);
}

#[test]
fn the_report_has_stable_keys() {
    let report = serde_json::to_value(Report::default()).unwrap();
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "ok",
        "joins",
        "chat",
        "presence",
        "echo",
        "server",
        "generator",
        "bare",
        "errors",
        "traffic",
        "samples",
        "rooms",
        "storm",
    ] {
        assert!(keys.contains(&key), "{key}");
    }
    assert!(report["server"].get("cpu_ms_per_join").is_some() && report["chat"]["latency"].get("p99_ms").is_some());
}
