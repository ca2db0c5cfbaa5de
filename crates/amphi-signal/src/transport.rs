//! A client's socket, plain or TLS, for code that writes without waiting.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use rustls::ServerConnection;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A connected socket in a form that may move between threads.
pub(crate) struct RawTransport {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) tls: Option<Box<ServerConnection>>,
}

/// A connected socket that belongs to one thread.
pub(crate) struct Transport {
    socket: Rc<TcpStream>,
    tls: Option<RefCell<Box<ServerConnection>>>,
}

/// Bytes that TLS holds for a slow reader.
const BUFFER: usize = 64 * 1024;

struct Sock<'a>(&'a TcpStream);

impl Read for Sock<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.try_read(buf)?;
        if n < buf.len() {
            // A short read emptied the socket. Saying so spares the read that would only find out; newer events are
            // not forgotten, the runtime tells them apart.
            let _ = self.0.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(n)
    }
}

impl Write for Sock<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }
    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RawTransport {
    /// Registers the socket with the current thread's runtime.
    pub(crate) fn adopt(self) -> io::Result<Transport> {
        Ok(Transport { socket: Rc::new(TcpStream::from_std(self.socket)?), tls: self.tls.map(RefCell::new) })
    }
}

impl Transport {
    /// A socket that is registered with this thread already, and its TLS once hands are shaken.
    pub(crate) fn new(socket: TcpStream, tls: Option<Box<ServerConnection>>) -> Self {
        let tls = tls.map(|mut tls| {
            tls.set_buffer_limit(Some(BUFFER));
            RefCell::new(tls)
        });
        Self { socket: Rc::new(socket), tls }
    }

    /// Takes the socket off this thread's runtime.
    ///
    /// # Errors
    /// If somebody still waits for the socket.
    pub(crate) fn release(self) -> io::Result<RawTransport> {
        let socket = Rc::try_unwrap(self.socket).map_err(|_| io::Error::other("socket in use"))?;
        Ok(RawTransport { socket: socket.into_std()?, tls: self.tls.map(RefCell::into_inner) })
    }

    /// The socket, to wait for it without holding on to the transport.
    pub(crate) fn socket(&self) -> Rc<TcpStream> {
        self.socket.clone()
    }

    /// Whether writing has to wait for the socket.
    pub(crate) fn interest(write: bool) -> Interest {
        if write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
    }

    /// Makes reads end at once.
    pub(crate) fn abort(&self) {
        let _ = socket2::SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Both);
    }

    /// Starts TLS as the server; the handshake runs inside of reads and writes.
    pub(crate) fn start_tls(&mut self, config: std::sync::Arc<rustls::ServerConfig>) -> Result<(), rustls::Error> {
        let mut tls = ServerConnection::new(config)?;
        tls.set_buffer_limit(Some(BUFFER));
        self.tls = Some(RefCell::new(Box::new(tls)));
        Ok(())
    }

    /// Waits until reading, or if `write` writing, may make progress.
    pub(crate) async fn ready(&self, write: bool) -> io::Result<()> {
        let write = write || self.tls.as_ref().is_some_and(|t| t.borrow().wants_write());
        self.socket.ready(Self::interest(write)).await.map(|_| ())
    }

    /// Reads what is there. `Ok(0)` is the end of the stream; `WouldBlock` means wait.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return Sock(&self.socket).read(buf) };
        let mut tls = tls.borrow_mut();
        loop {
            match tls.reader().read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if tls.read_tls(&mut Sock(&self.socket))? == 0 {
                return Ok(0);
            }
            let state = tls.process_new_packets().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e));
            while tls.wants_write() {
                match tls.write_tls(&mut Sock(&self.socket)) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
            state?;
        }
    }

    /// Writes as much as the socket takes. `WouldBlock` when it takes nothing.
    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.socket.try_write(buf) };
        let mut tls = tls.borrow_mut();
        let n = tls.writer().write(buf)?;
        while tls.wants_write() {
            match tls.write_tls(&mut Sock(&self.socket)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if n == 0 && !buf.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    /// Whether TLS holds bytes that the socket did not take yet.
    pub(crate) fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|t| t.borrow().wants_write())
    }

    /// Pushes out bytes that TLS holds.
    pub(crate) fn flush_pending(&self) -> io::Result<()> {
        if let Some(tls) = &self.tls {
            let mut tls = tls.borrow_mut();
            while tls.wants_write() {
                match tls.write_tls(&mut Sock(&self.socket)) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    /// Says goodbye where the protocol has a way, and closes for writing.
    pub(crate) fn shutdown(&self) {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().send_close_notify();
            let _ = self.flush_pending();
        }
        let _ = socket2::SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Write);
    }
}
