//! The yardstick: a plain loop that writes frames of the same size to the same number of loopback sockets and reads the
//! acknowledgements, in a process of its own. What a server costs per delivery is told as a ratio to it, measured in turns
//! in one run, because the cost of a bare write differs from machine to machine and from minute to minute.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    args::{BareClientArgs, BareServerArgs},
    process,
};

/// Acknowledgement of a client: as long as a masked `<a h='12345'/>`.
const ACK: [u8; 44] = [b'a'; 44];
/// Frames per acknowledgement.
const ACK_EVERY: usize = 5;

/// What a turn of bare writing cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Turn {
    /// Writes.
    pub writes: u64,
    /// CPU time of the writing thread, reading of acknowledgements included.
    pub cpu_ns: u64,
    /// Writes that did not fit into a socket.
    pub blocked: u64,
}

/// The two processes.
pub(crate) struct Bare {
    server: Child,
    client: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    /// Starts both and waits until all connections stand.
    pub(crate) fn start(count: usize, bytes: usize, sources: &[IpAddr]) -> anyhow::Result<Self> {
        let mut server = itself("bare-server")?.arg("--count").arg(count.to_string()).spawn()?;
        let orders = server.stdin.take().context("no standard input")?;
        let mut answers = BufReader::new(server.stdout.take().context("no standard output")?);
        let port = line(&mut answers).context("bare server did not start")?;
        let mut client = itself("bare-client")?;
        client.args(["--port", &port, "--count", &count.to_string(), "--bytes", &bytes.to_string()]);
        if !sources.is_empty() {
            let list: Vec<String> = sources.iter().map(ToString::to_string).collect();
            client.args(["--sources", &list.join(",")]);
        }
        let client = client.spawn()?;
        let mut bare = Self { server, client, orders, answers };
        let ready = line(&mut bare.answers).context("bare server ended")?;
        if ready != "ready" {
            bail!("bare server: {ready}");
        }
        Ok(bare)
    }

    /// Writes so many rounds, one every `every`, each one frame to every connection.
    pub(crate) fn turn(&mut self, rounds: u64, bytes: usize, every: Duration) -> anyhow::Result<Turn> {
        writeln!(self.orders, "{rounds} {bytes} {}", every.as_micros())?;
        self.orders.flush()?;
        Ok(serde_json::from_str(&line(&mut self.answers)?)?)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.client] {
            // Both end by themselves when their peer is gone; this only hurries them.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// This program with another command of `load`.
fn itself(command: &str) -> anyhow::Result<Command> {
    let mut own = Command::new(std::env::current_exe()?);
    if std::env::args().skip(1).take_while(|a| a != "signaling").any(|a| a == "load") {
        own.arg("load");
    }
    own.arg(command);
    own.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(own)
}

fn line(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    if from.read_line(&mut text)? == 0 {
        bail!("ended early");
    }
    Ok(text.trim_end().to_owned())
}

/// The writing process: orders on standard input, one JSON line per turn on standard output.
pub(crate) fn server(args: &BareServerArgs) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(4_096)?;
    let listener: TcpListener = socket.into();
    say(&listener.local_addr()?.port().to_string())?;
    let mut poll = Poll::new()?;
    let mut peers = Vec::with_capacity(args.count);
    for n in 0..args.count {
        let (socket, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(n), Interest::READABLE)?;
        peers.push(socket);
    }
    say("ready")?;
    let mut events = Events::with_capacity(4_096);
    for order in io::stdin().lock().lines() {
        let order = order?;
        let mut words = order.split(' ').map(str::parse::<u64>);
        let (Some(Ok(rounds)), Some(Ok(bytes)), Some(Ok(every))) = (words.next(), words.next(), words.next()) else {
            bail!("bad order: {order}");
        };
        let frame = vec![b'x'; bytes as usize];
        let mut turn = Turn { writes: 0, cpu_ns: 0, blocked: 0 };
        let start = process::thread_cpu().context("no thread CPU time")?;
        for _ in 0..rounds {
            let next = Instant::now() + Duration::from_micros(every);
            for peer in &mut peers {
                match peer.write(&frame) {
                    Ok(n) if n == frame.len() => turn.writes += 1,
                    _ => turn.blocked += 1,
                }
            }
            read_acks(&mut poll, &mut events, &mut peers, next)?;
        }
        read_acks(&mut poll, &mut events, &mut peers, Instant::now() + Duration::from_millis(200))?;
        turn.cpu_ns = process::thread_cpu().context("no thread CPU time")? - start;
        say(&serde_json::to_string(&turn)?)?;
    }
    Ok(())
}

fn read_acks(poll: &mut Poll, events: &mut Events, peers: &mut [TcpStream], until: Instant) -> io::Result<()> {
    let mut buffer = [0; 4_096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        poll.poll(events, Some(left))?;
        for event in &*events {
            while peers[event.token().0].read(&mut buffer).is_ok_and(|n| n == buffer.len()) {}
        }
        if left.is_zero() {
            return Ok(());
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// The reading process: acknowledges every fifth frame, ends when the server does.
pub(crate) fn client(args: &BareClientArgs) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut peers = Vec::with_capacity(args.count);
    for n in 0..args.count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if !args.sources.is_empty() {
            socket.bind(&SocketAddr::new(args.sources[n % args.sources.len()], 0).into())?;
        }
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)).into())?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket.into());
        poll.registry().register(&mut socket, Token(n), Interest::READABLE)?;
        peers.push((socket, 0usize));
    }
    let mut events = Events::with_capacity(4_096);
    let mut buffer = vec![0; 64 << 10];
    let mut open = peers.len();
    while open > 0 {
        poll.poll(&mut events, None)?;
        for event in &events {
            let (socket, seen) = &mut peers[event.token().0];
            loop {
                match socket.read(&mut buffer) {
                    Ok(0) => {
                        open -= 1;
                        break;
                    }
                    Ok(n) => {
                        *seen += n;
                        if *seen >= ACK_EVERY * args.bytes {
                            *seen -= ACK_EVERY * args.bytes;
                            let _ = socket.write(&ACK)?;
                        }
                        if n < buffer.len() {
                            break;
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        open = 0;
                        break;
                    }
                }
            }
        }
    }
    Ok(())
}
