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
fn the_report_has_stable_keys() {
    let report = serde_json::to_value(Report::default()).unwrap();
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    for key in
        ["ok", "joins", "chat", "presence", "echo", "server", "generator", "bare", "errors", "traffic", "samples"]
    {
        assert!(keys.contains(&key), "{key}");
    }
    assert!(report["server"].get("cpu_ms_per_join").is_some() && report["chat"]["latency"].get("p99_ms").is_some());
}
