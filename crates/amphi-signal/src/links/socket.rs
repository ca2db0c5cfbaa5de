//! A connection between servers: plain at first, TLS after `StartTls`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls;

/// How long a peer may take nothing of what is written, or say nothing to a TLS handshake: as long as it may be silent on a stream.
/// The stream's own timers stand still meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(5);

pub(crate) enum Socket {
    Plain(TcpStream),
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// Between two states.
    Gone,
}

impl Socket {
    pub(crate) async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(s) => s.read(buf).await,
            Self::Client(s) => s.read(buf).await,
            Self::Server(s) => s.read(buf).await,
            Self::Gone => Ok(0),
        }
    }

    /// Writes all of it, however slowly the peer takes it. One that takes nothing more for as long as [`PATIENCE`] is gone.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(s) => write(s, bytes).await,
            Self::Client(s) => write(s, bytes).await,
            Self::Server(s) => write(s, bytes).await,
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) async fn close(&mut self) {
        let close = async {
            match self {
                Self::Plain(s) => s.shutdown().await,
                Self::Client(s) => s.shutdown().await,
                Self::Server(s) => s.shutdown().await,
                Self::Gone => Ok(()),
            }
        };
        let _ = tokio::time::timeout(GOODBYE, close).await;
    }

    /// TLS as the client.
    pub(crate) async fn secure_client(&mut self, config: Arc<rustls::ClientConfig>, domain: &str) -> io::Result<()> {
        let Self::Plain(s) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        let handshake = tokio_rustls::TlsConnector::from(config).connect(name, s);
        *self = Self::Client(Box::new(in_time(handshake).await?));
        Ok(())
    }

    /// TLS as the server.
    pub(crate) async fn secure_server(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<()> {
        let Self::Plain(s) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        *self = Self::Server(Box::new(tokio_rustls::TlsAcceptor::from(config).accept(s).await?));
        Ok(())
    }

    /// Fingerprint of the peer's certificate.
    pub(crate) fn peer_fingerprint(&self) -> Option<String> {
        let certs = match self {
            Self::Client(s) => s.get_ref().1.peer_certificates(),
            Self::Server(s) => s.get_ref().1.peer_certificates(),
            _ => None,
        }?;
        Some(tls::fingerprint(certs.first()?))
    }
}

async fn write(s: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match in_time(s.write(bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => bytes = &bytes[n..],
        }
    }
    in_time(s.flush()).await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_peer, _) = listener.accept().await.unwrap();
        let mut socket = Socket::Plain(socket);
        let block = vec![b' '; 1 << 20];
        let mut written = 0;
        let end = loop {
            match socket.write(&block).await {
                Ok(()) => written += 1,
                Err(e) => break e,
            }
            assert!(written < 1000, "somebody reads");
        };
        assert_eq!(end.kind(), io::ErrorKind::TimedOut);
    }
}
