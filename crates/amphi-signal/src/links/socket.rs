//! A connection between servers: plain at first, TLS after `StartTls`.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls;

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

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(s) => s.write_all(bytes).await,
            Self::Client(s) => {
                s.write_all(bytes).await?;
                s.flush().await
            }
            Self::Server(s) => {
                s.write_all(bytes).await?;
                s.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) async fn close(&mut self) {
        let _ = match self {
            Self::Plain(s) => s.shutdown().await,
            Self::Client(s) => s.shutdown().await,
            Self::Server(s) => s.shutdown().await,
            Self::Gone => Ok(()),
        };
    }

    /// TLS as the client.
    pub(crate) async fn secure_client(&mut self, config: Arc<rustls::ClientConfig>, domain: &str) -> io::Result<()> {
        let Self::Plain(s) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        *self = Self::Client(Box::new(tokio_rustls::TlsConnector::from(config).connect(name, s).await?));
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
