//! STUN (RFC 8489) as far as the check speaks it: whether a server answers, whether a bridge answers on the address that it tells
//! browsers (RFC 8445, 7), and whether a TURN server takes our credentials (RFC 8656, 7).

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING: u16 = 0x0001;
const ALLOCATE: u16 = 0x0003;
const REFRESH: u16 = 0x0004;
const SUCCESS: u16 = 0x0100;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const PRIORITY: u16 = 0x0024;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
/// How often a request is sent, a second apart, before its server is taken to be away.
const ATTEMPTS: u32 = 3;

/// A message, ours or theirs.
struct Message(Vec<u8>);

impl Message {
    fn new(ty: u16) -> Self {
        let mut bytes = ty.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(rand::random::<[u8; 12]>());
        Self(bytes)
    }

    fn with(mut self, attribute: u16, value: &[u8]) -> Self {
        self.0.extend(attribute.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.announce(0);
        self
    }

    /// The length of the body, with what is still to come.
    fn announce(&mut self, more: usize) {
        let length = (self.0.len() - 20 + more) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn signed(mut self, key: &[u8]) -> Self {
        self.announce(24);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), &self.0);
        self.with(MESSAGE_INTEGRITY, tag.as_ref())
    }

    fn marked(mut self) -> Self {
        self.announce(8);
        let crc = crc32(&self.0) ^ 0x5354_554e;
        self.with(FINGERPRINT, &crc.to_be_bytes())
    }

    fn ty(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    fn attribute(&self, wanted: u16) -> Option<&[u8]> {
        let mut rest = self.0.get(20..)?;
        while rest.len() >= 4 {
            let (ty, length) =
                (u16::from_be_bytes([rest[0], rest[1]]), usize::from(u16::from_be_bytes([rest[2], rest[3]])));
            let value = rest.get(4..4 + length)?;
            if ty == wanted {
                return Some(value);
            }
            rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        None
    }

    /// The number of an error, such as 401.
    fn error(&self) -> u16 {
        self.attribute(ERROR_CODE).filter(|v| v.len() >= 4).map_or(0, |v| u16::from(v[2] & 7) * 100 + u16::from(v[3]))
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

async fn socket(at: SocketAddr) -> anyhow::Result<UdpSocket> {
    let local: SocketAddr = if at.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(at).await.with_context(|| at.to_string())?;
    Ok(socket)
}

/// The answer to a request.
async fn ask(socket: &UdpSocket, request: &Message) -> anyhow::Result<Message> {
    for _ in 0..ATTEMPTS {
        // A closed port is told by the machine behind it, as an error of the next call.
        let sent = socket.send(&request.0).await;
        let answered = tokio::time::timeout(Duration::from_secs(1), async {
            sent?;
            loop {
                let mut answer = vec![0; 1500];
                let n = socket.recv(&mut answer).await?;
                answer.truncate(n);
                if n >= 20 && answer[8..20] == request.0[8..20] {
                    return Ok::<_, std::io::Error>(Message(answer));
                }
            }
        });
        match answered.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => bail!("nothing listens there"),
            Ok(Err(e)) => return Err(e.into()),
            Err(_) => {}
        }
    }
    bail!("no answer over UDP: a firewall drops the packets, or nothing is there")
}

/// What a bridge expects of whoever checks its candidates.
pub(super) struct Check {
    /// Fragment of the bridge, then ours.
    pub(super) fragments: (String, String),
    /// Password of the bridge.
    pub(super) password: String,
}

/// Whether a bridge answers a connectivity check at one of its candidates.
pub(super) async fn bridge(at: SocketAddr, check: &Check) -> anyhow::Result<()> {
    let request = Message::new(BINDING)
        .with(USERNAME, format!("{}:{}", check.fragments.0, check.fragments.1).as_bytes())
        .with(PRIORITY, &1_845_501_695_u32.to_be_bytes())
        .with(ICE_CONTROLLED, &rand::random::<[u8; 8]>())
        .signed(check.password.as_bytes())
        .marked();
    let answer = ask(&socket(at).await?, &request).await?;
    if answer.ty() != BINDING | SUCCESS {
        bail!("the answer is an error ({})", answer.error());
    }
    Ok(())
}

/// How a TURN server answers somebody with our credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It relays.
    Relays,
    /// It answers, and refuses the credentials.
    Refused,
    /// It answers, and does not relay for another reason: the number of its error.
    Error(u16),
}

/// Asks for a relayed address with credentials made of the shared secret, as clients get them, and gives it back.
pub(super) async fn turn(host: &str, port: u16, secret: &str, now: u64) -> anyhow::Result<Turn> {
    let at = tokio::net::lookup_host((host, port)).await.with_context(|| format!("{host} is not in DNS"))?.next();
    let socket = socket(at.with_context(|| format!("{host} is not in DNS"))?).await?;
    let first = ask(&socket, &Message::new(ALLOCATE).with(REQUESTED_TRANSPORT, &UDP)).await?;
    let signer = match Signer::of(&first, secret, now) {
        Ok(signer) => signer,
        Err(told) => return Ok(told),
    };
    let second = ask(&socket, &signer.sign(Message::new(ALLOCATE).with(REQUESTED_TRANSPORT, &UDP))).await?;
    let told = judged(&second);
    if told == Turn::Relays {
        let _ = socket.send(&signer.sign(Message::new(REFRESH).with(LIFETIME, &[0; 4])).0).await;
    }
    Ok(told)
}

/// As [`turn`], over a stream. The address is given back with the connection.
pub(super) async fn turn_over<S>(stream: &mut S, secret: &str, now: u64) -> anyhow::Result<Turn>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = exchange(stream, &Message::new(ALLOCATE).with(REQUESTED_TRANSPORT, &UDP)).await?;
    let signer = match Signer::of(&first, secret, now) {
        Ok(signer) => signer,
        Err(told) => return Ok(told),
    };
    let second = exchange(stream, &signer.sign(Message::new(ALLOCATE).with(REQUESTED_TRANSPORT, &UDP))).await?;
    Ok(judged(&second))
}

/// A request and its answer; nothing else comes before there is an allocation.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &Message) -> anyhow::Result<Message> {
    stream.write_all(&request.0).await?;
    stream.flush().await?;
    let mut answer = vec![0; 20];
    stream.read_exact(&mut answer).await.context("what is there does not speak TURN")?;
    if answer[4..8] != COOKIE || answer[8..20] != request.0[8..20] {
        bail!("what is there does not speak TURN");
    }
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    answer.resize(20 + length, 0);
    stream.read_exact(&mut answer[20..]).await?;
    Ok(Message(answer))
}

/// REQUESTED-TRANSPORT for UDP.
const UDP: [u8; 4] = [17, 0, 0, 0];

/// Signs requests with credentials made of the shared secret, as clients get them.
struct Signer {
    user: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Vec<u8>,
}

impl Signer {
    /// For whoever gave this answer to a request without credentials; or what that answer means.
    fn of(first: &Message, secret: &str, now: u64) -> Result<Self, Turn> {
        if first.ty() == ALLOCATE | SUCCESS {
            return Err(Turn::Relays);
        }
        let (Some(realm), Some(nonce)) = (first.attribute(REALM), first.attribute(NONCE)) else {
            return Err(Turn::Error(first.error()));
        };
        let user = format!("{}:check", now + 600);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let password = STANDARD.encode(hmac::sign(&key, user.as_bytes()));
        let key = Md5::digest([user.as_bytes(), b":", realm, b":", password.as_bytes()].concat()).to_vec();
        Ok(Self { user, realm: realm.to_vec(), nonce: nonce.to_vec(), key })
    }

    fn sign(&self, m: Message) -> Message {
        m.with(USERNAME, self.user.as_bytes()).with(REALM, &self.realm).with(NONCE, &self.nonce).signed(&self.key)
    }
}

/// What the answer to a signed request says.
fn judged(second: &Message) -> Turn {
    match second.ty() {
        ty if ty == ALLOCATE | SUCCESS => Turn::Relays,
        _ if matches!(second.error(), 401 | 403 | 441) => Turn::Refused,
        _ => Turn::Error(second.error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_test_vectors() {
        // RFC 5769, 2.1.
        let request = Message(
            [
                &[0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86][..],
                &[0xfa, 0x87, 0xdf, 0xae],
            ]
            .concat(),
        );
        let whole = request
            .with(0x8022, b"STUN test client")
            .with(PRIORITY, &[0x6e, 0x00, 0x01, 0xff])
            .with(ICE_CONTROLLED, &[0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36]);
        // The vector pads the user name with spaces, where padding is free.
        let mut named = whole.with(USERNAME, b"evtj:h6vY");
        let end = named.0.len();
        named.0[end - 3..].fill(0x20);
        let signed = named.signed(b"VOkJxbRl1RmTxUk/WvJxBt");
        assert_eq!(
            signed.attribute(MESSAGE_INTEGRITY).unwrap(),
            [
                0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1,
                0xb5, 0x71, 0xa2
            ]
        );
        assert_eq!(signed.marked().attribute(FINGERPRINT).unwrap(), [0xe5, 0x7a, 0x3b, 0xcf]);
    }

    /// A TURN server that knows one secret; answers three requests at most.
    async fn server(secret: &'static str) -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut bytes = vec![0; 1500];
            for _ in 0..3 {
                let (n, from) = socket.recv_from(&mut bytes).await.unwrap();
                let request = Message(bytes[..n].to_vec());
                let mut answer = Message::new(request.ty() | SUCCESS);
                let good = request.attribute(USERNAME).is_some_and(|user| {
                    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
                    let password = STANDARD.encode(hmac::sign(&key, user));
                    let key = Md5::digest([user, b":example.org:", password.as_bytes()].concat());
                    let mut before = Message(request.0[..n - 24].to_vec());
                    before.announce(24);
                    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), &before.0);
                    request.attribute(MESSAGE_INTEGRITY) == Some(tag.as_ref())
                });
                if !good {
                    answer = Message::new(request.ty() | 0x0110).with(ERROR_CODE, &[0, 0, 4, 1]);
                    answer = answer.with(REALM, b"example.org").with(NONCE, b"once");
                }
                answer.0[8..20].copy_from_slice(&request.0[8..20]);
                socket.send_to(&answer.0, from).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn a_turn_server_with_another_secret_refuses() {
        let port = server("right").await;
        assert_eq!(turn("127.0.0.1", port, "right", 1_000).await.unwrap(), Turn::Relays);
        let port = server("right").await;
        assert_eq!(turn("127.0.0.1", port, "wrong", 1_000).await.unwrap(), Turn::Refused);
    }

    #[tokio::test]
    async fn a_closed_port_is_told_at_once() {
        let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let check = Check { fragments: ("a".to_owned(), "b".to_owned()), password: "c".to_owned() };
        let told = bridge(([127, 0, 0, 1], port).into(), &check).await.unwrap_err().to_string();
        assert!(told.contains("nothing listens there"), "{told}");
    }
}
