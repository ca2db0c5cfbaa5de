//! The whole generator against a tiny server in this process: it upgrades, opens, authenticates, binds and enables, and it
//! is a room that echoes presences and sends every line to everybody. It can also lose, repeat or spoil things on purpose.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use amphi_load::{LoadArgs, LoadCommand, Report, SignalingArgs, run_signaling};
use base64::Engine as _;
use clap::Parser;
use sha1::Digest;

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The third member misses one line.
    LosesALine,
    /// The third member gets one line twice.
    RepeatsALine,
    /// The third member gets a line whose XML is broken.
    SpoilsXml,
    /// The third connection is refused by its HTTP status for ever.
    RefusesOne,
    /// The first conference requests are answered with `ready=false`.
    NotReadyAtFirst,
}

struct Room {
    members: Mutex<Vec<(u32, String, TcpStream)>>,
    connections: AtomicU32,
    requests: AtomicU32,
    lines: AtomicU32,
    fault: Fault,
}

/// Starts a server; returns its port.
fn server(fault: Fault) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let room = Arc::new(Room {
        members: Mutex::default(),
        connections: AtomicU32::new(0),
        requests: AtomicU32::new(0),
        lines: AtomicU32::new(0),
        fault,
    });
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let room = Arc::clone(&room);
            // Whatever breaks here shows in the report of the generator.
            std::thread::spawn(move || serve(&room, socket.unwrap()));
        }
    });
    port
}

fn serve(room: &Room, socket: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    loop {
        let (mut first, mut key, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut first).ok().filter(|&n| n > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some(("Sec-WebSocket-Key", value)) => key = value.to_owned(),
                Some(("Content-Length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        if first.starts_with("POST /conference-request/v1?room=") {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let asked = room.requests.fetch_add(1, Ordering::SeqCst);
            let ready = room.fault != Fault::NotReadyAtFirst || asked >= 2;
            let vnode =
                if String::from_utf8(body).ok()?.contains("\"visitor\":true") { ",\"vnode\":\"v1\"" } else { "" };
            let json = format!("{{\"ready\":{ready},\"focusJid\":\"focus@auth\",\"properties\":{{}}{vnode}}}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", json.len());
            (&socket).write_all((head + &json).as_bytes()).ok()?;
            continue;
        }
        let number = room.connections.fetch_add(1, Ordering::SeqCst);
        if room.fault == Fault::RefusesOne && number >= 2 {
            (&socket).write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").ok()?;
            return None;
        }
        let mut sha = sha1::Sha1::new();
        sha.update(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = base64::engine::general_purpose::STANDARD.encode(sha.finalize());
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        (&socket).write_all(head.as_bytes()).ok()?;
        let visitor = first.contains("vnode=v1");
        return talk(room, number, visitor, &socket, &mut reader);
    }
}

fn talk(room: &Room, number: u32, visitor: bool, socket: &TcpStream, reader: &mut impl Read) -> Option<()> {
    let mut authenticated = false;
    let domain = if visitor { "v1.meet.jitsi" } else { "localhost" };
    let address = format!("town@conference.{domain}");
    let nick = format!("{number:08x}");
    loop {
        let text = frame(reader)?;
        let name: String = text[1..].chars().take_while(char::is_ascii_alphabetic).collect();
        match name.as_str() {
            "open" => {
                assert!(text.contains(&format!("to=\"{domain}\"")), "{text}");
                send(socket, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>");
                let offer = if authenticated {
                    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>"
                } else {
                    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>"
                };
                send(
                    socket,
                    &format!(
                        "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>{offer}</stream:features>"
                    ),
                );
            }
            "auth" => {
                authenticated = true;
                send(socket, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            }
            "enable" => send(socket, "<enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>"),
            "iq" if text.contains("xmpp-bind") => {
                let jid = format!("{nick}-0000@{domain}/r");
                send(
                    socket,
                    &format!(
                        "<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>"
                    ),
                );
            }
            "presence" if text.contains("unavailable") => room.members.lock().unwrap().retain(|m| m.0 != number),
            "presence" => {
                assert!(text.contains(&format!("to=\"{address}/{nick}\"")), "{text}");
                let mark = text
                    .find("<jitsi_participant_load>")
                    .map_or("", |at| &text[at..text.rfind("</presence>").unwrap()]);
                let mut members = room.members.lock().unwrap();
                if mark.is_empty() {
                    members.push((number, address.clone(), socket.try_clone().ok()?));
                    send(socket, &presence(&address, &nick, "<status code='110'/>", ""));
                } else {
                    members.iter().for_each(|(_, room, peer)| send(peer, &presence(room, &nick, "", mark)));
                }
            }
            "message" => {
                let body = &text[text.find("<body>")?..text.rfind("</message>")?];
                let line = room.lines.fetch_add(1, Ordering::SeqCst);
                for (member, address, peer) in &*room.members.lock().unwrap() {
                    let victim = *member == 2 && line == 1;
                    let message = format!(
                        "<message xmlns='jabber:client' type='groupchat' from='{address}/{nick}'>{body}</message>"
                    );
                    match room.fault {
                        Fault::LosesALine if victim => {}
                        Fault::RepeatsALine if victim => (0..2).for_each(|_| send(peer, &message)),
                        Fault::SpoilsXml if victim => send(peer, &message.replace("</body>", "</b>")),
                        _ => send(peer, &message),
                    }
                }
            }
            "r" => {}
            _ => {}
        }
    }
}

fn presence(room: &str, nick: &str, status: &str, more: &str) -> String {
    format!(
        "<presence xmlns='jabber:client' from='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/>{status}</x>{more}</presence>"
    )
}

fn send(mut socket: &TcpStream, xml: &str) {
    let mut out = vec![0x81];
    if xml.len() < 126 {
        out.push(xml.len() as u8);
    } else {
        out.push(126);
        out.extend_from_slice(&(xml.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(xml.as_bytes());
    // A client that is gone is not this server's problem.
    let _ = socket.write_all(&out);
}

fn frame(reader: &mut impl Read) -> Option<String> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).ok()?;
    assert_eq!(head[1] & 0x80, 0x80, "client frames are masked");
    let mut len = usize::from(head[1] & 0x7f);
    if len == 126 {
        let mut more = [0; 2];
        reader.read_exact(&mut more).ok()?;
        len = usize::from(u16::from_be_bytes(more));
    }
    let mut mask = [0; 4];
    reader.read_exact(&mut mask).ok()?;
    let mut payload = vec![0; len];
    reader.read_exact(&mut payload).ok()?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(b, m)| *b ^= m);
    (head[0] & 0x0f == 1).then(|| String::from_utf8(payload).unwrap())
}

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
