//! A UDP proxy with a bad network in it: `amphi-netem --listen 127.0.0.1:11000 --to 127.0.0.1:10000 --down rate=400k`. Conditions can be changed while
//! it runs: lines on its input such as `down rate=400k loss=5` or `up`. Ends with its input.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_netem::{Conditions, Direction, Proxy};
use anyhow::Context as _;
use clap::Parser;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A UDP proxy with a bad network in it.
#[derive(Parser)]
struct Arguments {
    /// Where clients send to.
    #[arg(long)]
    listen: SocketAddr,
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// From clients to the server, as `delay=20ms jitter=5ms loss=5 reorder=40 rate=400k queue=30k`.
    #[arg(long, default_value = "")]
    up: Conditions,
    /// From the server to clients.
    #[arg(long, default_value = "")]
    down: Conditions,
    /// What is lost follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Clients at a time.
const CLIENTS: usize = 1_024;
/// Clients are forgotten after so much silence.
const IDLE: Duration = Duration::from_secs(60);
/// Datagrams of the server that may wait.
const QUEUE: usize = 4_096;

struct Back {
    socket: Arc<UdpSocket>,
    task: JoinHandle<()>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let it = Arguments::parse();
    let front = UdpSocket::bind(it.listen).await.with_context(|| format!("cannot listen on {}", it.listen))?;
    let any: SocketAddr = if it.to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
    let mut proxy = Proxy::new(it.up, it.down, it.seed, CLIENTS);
    let mut backs: HashMap<SocketAddr, Back> = HashMap::new();
    let (from_server, mut of_server) = mpsc::channel::<(SocketAddr, Vec<u8>)>(QUEUE);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut clean = tokio::time::interval(Duration::from_secs(10));
    let mut buffer = vec![0; 65_536];
    println!("listening on {}", front.local_addr()?);
    loop {
        let wait = proxy.poll_timeout().map_or(Duration::from_secs(3_600), |at| at - Instant::now());
        tokio::select! {
            got = front.recv_from(&mut buffer) => if let Ok((len, client)) = got {
                let taken = proxy.push(Instant::now(), client, Direction::Up, buffer[..len].to_vec());
                if taken && !backs.contains_key(&client) {
                    let socket = Arc::new(UdpSocket::bind(any).await?);
                    socket.connect(it.to).await?;
                    let task = tokio::spawn(listen(client, socket.clone(), from_server.clone()));
                    backs.insert(client, Back { socket, task });
                }
            },
            Some((client, datagram)) = of_server.recv() => {
                proxy.push(Instant::now(), client, Direction::Down, datagram);
            }
            line = lines.next_line() => match line? {
                Some(line) => command(&mut proxy, &line),
                None => return Ok(()),
            },
            _ = clean.tick() => if let Some(since) = Instant::now().checked_sub(IDLE) {
                for client in proxy.forget(since) {
                    backs.remove(&client).into_iter().for_each(|it| it.task.abort());
                }
            },
            () = tokio::time::sleep(wait) => {}
        }
        while let Some((client, direction, datagram)) = proxy.pop(Instant::now()) {
            // What a socket does not take is lost, as on any network.
            let _ = match (direction, backs.get(&client)) {
                (Direction::Up, Some(back)) => back.socket.try_send(&datagram),
                (Direction::Up, None) => continue,
                (Direction::Down, _) => front.try_send_to(&datagram, client),
            };
        }
    }
}

async fn listen(client: SocketAddr, socket: Arc<UdpSocket>, to: mpsc::Sender<(SocketAddr, Vec<u8>)>) {
    let mut buffer = vec![0; 65_536];
    loop {
        if let Ok(len) = socket.recv(&mut buffer).await
            && to.send((client, buffer[..len].to_vec())).await.is_err()
        {
            return;
        }
    }
}

fn command(proxy: &mut Proxy, line: &str) {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let direction = match word {
        "up" => Direction::Up,
        "down" => Direction::Down,
        "" => return,
        _ => return eprintln!("{word:?}: neither up nor down"),
    };
    match rest.parse() {
        Ok(conditions) => {
            println!("{word} {conditions:?}");
            proxy.set(direction, conditions);
        }
        Err(error) => eprintln!("{error}"),
    }
}
