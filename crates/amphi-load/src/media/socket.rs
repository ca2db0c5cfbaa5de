//! UDP for many clients on one socket: on this machine every client has a loopback address of its own (127.x.y.z), so that a few sockets stand
//! for thousands of 5-tuples and one call takes datagrams of many clients. Uses `recvmmsg`, UDP_GRO and IP_PKTINFO. IPv4 only.

#![allow(unsafe_code, reason = "recvmmsg and control messages have no safe form in the libraries we use")]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Messages for one call.
const BATCH: usize = 32;
/// Space for one message: UDP_GRO glues up to 64 KiB.
const MESSAGE: usize = 65_536;
/// Space for control messages: `in_pktinfo` and an `int`, with their heads.
const CONTROL: usize = 128;

/// A socket.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: Socket,
    port: u16,
}

impl Udp {
    /// Bound to this address and any port. `buffer`: bytes of the receive buffer (the kernel may give less).
    pub(crate) fn bind(address: Ipv4Addr, buffer: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let fd = socket.as_raw_fd();
        let bytes = libc::c_int::try_from(buffer).unwrap_or(libc::c_int::MAX);
        if set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
            let _ = set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes);
        }
        set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        // Without it (older kernel) datagrams come one by one.
        let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        let port = socket.local_addr()?.as_socket().map_or(0, |it| it.port());
        Ok(Self { socket, port })
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// For a poll.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends one datagram from one of this machine's addresses. Never waits.
    pub(crate) fn send(&self, data: &[u8], from: Ipv4Addr, to: SocketAddr) -> io::Result<()> {
        let SocketAddr::V4(to) = to else { return Err(io::Error::other("not IPv4")) };
        let mut name = raw(to);
        let mut iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let mut control = Control([0; CONTROL]);
        // SAFETY: `msghdr` is plain data for which all zeroes is a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        // SAFETY: `control` is aligned for `cmsghdr` and has room for one message with an `in_pktinfo` (CMSG_SPACE(12) is 32); `msg_controllen`
        // is set so that CMSG_FIRSTHDR gives a pointer into it.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as _;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = libc::IPPROTO_IP;
            (*message).cmsg_type = libc::IP_PKTINFO;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as _;
            libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
        }
        loop {
            // SAFETY: all pointers in `header` are to live locals or to `data`, with their true lengths; the kernel only reads them.
            let sent = unsafe { libc::sendmsg(self.fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                // The second is an ICMP error of an earlier datagram.
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
        }
    }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Datagrams of one size that came together.
#[derive(Debug)]
pub(crate) struct Burst<'a> {
    /// All of them, one after the other.
    pub(crate) data: &'a mut [u8],
    /// Size of all but the last.
    pub(crate) segment: usize,
    /// Who sent them.
    pub(crate) from: SocketAddr,
    /// To which address of ours.
    pub(crate) to: Ipv4Addr,
}

#[derive(Clone, Copy)]
struct Filled {
    len: usize,
    segment: usize,
    from: SocketAddrV4,
    to: Ipv4Addr,
}

/// Buffers for one `recvmmsg`, some 2 MiB; one per thread.
pub(crate) struct Inbox {
    data: Box<[u8]>,
    control: Box<[Control]>,
    names: Box<[libc::sockaddr_in]>,
    filled: Vec<Filled>,
}

impl Inbox {
    /// Empty buffers.
    pub(crate) fn new() -> Self {
        let name = raw(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        Self {
            data: vec![0; BATCH * MESSAGE].into_boxed_slice(),
            control: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            names: vec![name; BATCH].into_boxed_slice(),
            filled: Vec::with_capacity(BATCH),
        }
    }

    /// Without buffers: the place of one that is in use.
    pub(crate) fn empty() -> Self {
        Self { data: Box::default(), control: Box::default(), names: Box::default(), filled: Vec::new() }
    }

    /// Takes what waits, as much as fits. Returns whether more may wait.
    pub(crate) fn receive(&mut self, socket: &Udp) -> io::Result<bool> {
        self.filled.clear();
        let mut iovs = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: `mmsghdr` is plain data (integers and pointers) for which all zeroes is a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (index, ((header, iov), space)) in
            headers.iter_mut().zip(&mut iovs).zip(self.data.chunks_exact_mut(MESSAGE)).enumerate()
        {
            *iov = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
            header.msg_hdr.msg_iov = iov;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_hdr.msg_control = self.control[index].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let count = loop {
            // SAFETY: each header points to its own part of buffers that live in `self` (or in `iovs`) and are not touched during the call; the
            // lengths are theirs.
            let count = unsafe {
                libc::recvmmsg(
                    socket.fd(),
                    headers.as_mut_ptr(),
                    BATCH as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if count >= 0 {
                break count as usize;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {}
                io::ErrorKind::WouldBlock => return Ok(false),
                _ => return Err(error),
            }
        };
        for (index, header) in headers.iter().take(count).enumerate() {
            let len = (header.msg_len as usize).min(MESSAGE);
            let (segment, to) = told(&header.msg_hdr);
            let name = &self.names[index];
            let from =
                SocketAddrV4::new(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)), u16::from_be(name.sin_port));
            let segment = if segment == 0 { len.max(1) } else { segment };
            self.filled.push(Filled { len, segment, from, to });
        }
        Ok(count == BATCH)
    }

    /// What the last call brought.
    pub(crate) fn bursts(&mut self) -> impl Iterator<Item = Burst<'_>> {
        self.data.chunks_exact_mut(MESSAGE).zip(&self.filled).map(|(space, it)| Burst {
            data: &mut space[..it.len],
            segment: it.segment,
            from: it.from.into(),
            to: it.to,
        })
    }
}

/// Size of glued datagrams (0: one), and the address they were sent to.
fn told(header: &libc::msghdr) -> (usize, Ipv4Addr) {
    let (mut segment, mut to) = (0, Ipv4Addr::UNSPECIFIED);
    // SAFETY: `header` was filled by the kernel: `msg_control` and `msg_controllen` describe valid control messages in a live, aligned buffer,
    // and the CMSG functions stay inside of it. The data of UDP_GRO is an `int`, that of IP_PKTINFO an `in_pktinfo`.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned();
                    segment = usize::try_from(size).unwrap_or(0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned();
                    to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    (segment, to)
}

fn raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn set(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value's address and size are those of a live `int`.
    let result =
        unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size_of::<libc::c_int>() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_stands_for_many_addresses() {
        let many = Udp::bind(Ipv4Addr::UNSPECIFIED, 1 << 20).unwrap();
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = Ipv4Addr::new(127, 1, 2, 3);
        other.send_to(b"hello", (own, many.port())).unwrap();
        let mut inbox = Inbox::new();
        inbox.receive(&many).unwrap();
        let burst = inbox.bursts().next().unwrap();
        assert_eq!((&*burst.data, burst.to, burst.from), (&b"hello"[..], own, other.local_addr().unwrap()));
        many.send(b"back", own, other.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(other.recv_from(&mut buffer).unwrap(), (4, SocketAddr::from((own, many.port()))));
        inbox.receive(&many).unwrap();
        assert_eq!(inbox.bursts().count(), 0);
    }
}
