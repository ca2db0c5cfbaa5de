//! A non-blocking connection, plain or TLS, with whatever could not be written yet. Owned by one thread's poll.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use socket2::{Domain, Protocol, Socket, Type};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Up,
}

/// What a readiness event came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Connected just now.
    Connected,
    /// Nothing new about the connection itself.
    Same,
    /// It never stood, for this reason.
    Refused(String),
}

/// One connection.
pub(crate) struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    stage: Stage,
    unsent: Vec<u8>,
}

impl Transport {
    /// Starts to connect, from a given source address if there is one.
    pub(crate) fn connect(
        to: SocketAddr,
        from: Option<IpAddr>,
        tls: Option<(&Arc<ClientConfig>, &str)>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = from {
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&to.into()) {
            Ok(()) => {}
            // EINPROGRESS: the usual way of a non-blocking connect.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(115) => {}
            Err(e) => return Err(e),
        }
        let mut socket = TcpStream::from_std(socket.into());
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let tls = match tls {
            Some((config, name)) => {
                let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
                Some(Box::new(ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?))
            }
            None => None,
        };
        Ok(Self { socket, tls, stage: Stage::Connecting, unsent: Vec::new() })
    }

    /// To be called first on every event.
    pub(crate) fn progress(&mut self, writable: bool) -> Progress {
        if self.stage == Stage::Up {
            return Progress::Same;
        }
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(e)) | Err(e) => return Progress::Refused(refusal(&e)),
        }
        if !writable || self.socket.peer_addr().is_err() {
            return Progress::Same;
        }
        self.stage = Stage::Up;
        Progress::Connected
    }

    /// Reads once into `buffer`. `Ok(None)`: nothing now. The flag tells whether more may be there.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let Some(tls) = &mut self.tls else {
            return match self.socket.read(buffer) {
                Ok(n) => Ok(Some((n, n == buffer.len()))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
                Err(e) => Err(e),
            };
        };
        loop {
            match tls.reader().read(buffer) {
                Ok(n) => return Ok(Some((n, true))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(Some((0, false))),
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                    if tls.wants_write() {
                        flush_tls(tls, &mut self.socket)?;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes as much as goes now and keeps the rest.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            return if self.stage == Stage::Up { flush_tls(tls, &mut self.socket) } else { Ok(()) };
        }
        let mut bytes = bytes;
        if self.unsent.is_empty() && self.stage == Stage::Up {
            while !bytes.is_empty() {
                match self.socket.write(bytes) {
                    Ok(n) => bytes = &bytes[n..],
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    /// To be called when the socket is writable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return flush_tls(tls, &mut self.socket);
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.write(&unsent)
    }
}

fn flush_tls(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Is it this machine that cannot open a connection (no port, no descriptor, no memory), and not the peer?
pub(crate) fn is_own_fault(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut};
    !matches!(e.kind(), ConnectionRefused | ConnectionReset | ConnectionAborted | HostUnreachable | TimedOut)
}

/// A short name of a connection error, for counting.
pub(crate) fn refusal(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        io::ErrorKind::AddrNotAvailable => "no source port left (give more --sources)".into(),
        io::ErrorKind::BrokenPipe => "broken pipe".into(),
        _ => e.to_string(),
    }
}

/// The TLS side of all connections: certificates of a given authority, or no verification at all.
pub(crate) fn tls_config(ca: Option<&std::path::Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Takes whatever certificate a server under test shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
