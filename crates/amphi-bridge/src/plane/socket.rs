//! UDP with the kernel's offloads: many datagrams for one call. Receives with `recvmmsg` and UDP_GRO, sends runs of equal-sized datagrams to
//! one destination with UDP_SEGMENT. Falls back to one datagram per call where the kernel has no offload. Knows nothing of what it carries.
//! Shards use it, and the load generator, which stands for many clients with one socket.

#![allow(
    unsafe_code,
    reason = "recvmmsg, sendmsg with control messages and sched_setaffinity have no safe form in the libraries we use"
)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket as Inner, Type};

/// Most datagrams in one segmented send; the kernel's limit is 64 (128 in newer ones).
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes in one segmented send: what fits into an IP packet, with room for headers.
pub const MAX_SEND: usize = 65_000;
/// Messages for one `recvmmsg`.
const BATCH: usize = 16;
/// Space for one message: with UDP_GRO the kernel may glue datagrams up to 64 KiB.
const MESSAGE: usize = 65_536;
/// Space for the control messages of one message: `UDP_GRO` is an `int` (24 bytes with its head), `IP_PKTINFO` an `in_pktinfo` (32).
const CONTROL: usize = 64;

/// A non-blocking UDP socket. Clones share the file.
#[derive(Clone, Debug)]
pub struct Socket {
    inner: Arc<Inner>,
    local: SocketAddr,
    segmentation: Arc<AtomicBool>,
}

impl Socket {
    /// Opens a socket that shares its port with those of other shards. `buffer`: bytes for SO_RCVBUF and SO_SNDBUF (the kernel may give less).
    pub fn bind(address: SocketAddr, buffer: usize, offload: bool) -> io::Result<Self> {
        let inner = Inner::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_reuse_port(true)?;
        if address.is_ipv6() {
            inner.set_only_v6(true)?;
        }
        inner.set_nonblocking(true)?;
        set_buffer(&inner, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, buffer);
        set_buffer(&inner, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, buffer);
        inner.bind(&address.into())?;
        let local = inner.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
        Ok(Self::offloaded(inner, local, offload))
    }

    /// Opens an IPv4 socket with a free port of its own that tells for each datagram to which address it came ([`Burst::to`]) and sends from any
    /// address of this machine ([`Self::send_from`]): one socket for many addresses. `receive`: bytes for SO_RCVBUF.
    pub fn bind_many(address: Ipv4Addr, receive: usize) -> io::Result<Self> {
        let inner = Inner::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_nonblocking(true)?;
        set_buffer(&inner, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive);
        set_int(inner.as_raw_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        inner.bind(&SocketAddr::from((address, 0)).into())?;
        let local = inner.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
        Ok(Self::offloaded(inner, local, true))
    }

    fn offloaded(inner: Inner, local: SocketAddr, offload: bool) -> Self {
        let fd = inner.as_raw_fd();
        if offload {
            // Without it (older kernel) datagrams come one by one.
            let _ = set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        let segmentation = offload && set_int(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Self { inner: Arc::new(inner), local, segmentation: Arc::new(AtomicBool::new(segmentation)) }
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// For registration with a poll.
    pub fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    /// Whether runs of datagrams can be sent by one call.
    pub fn segments(&self) -> bool {
        self.segmentation.load(Ordering::Relaxed)
    }

    /// Sends one datagram.
    pub fn send(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.send_run(data, data.len(), to).map(|_| ())
    }

    /// Sends one datagram from one of this machine's addresses. Never waits.
    pub fn send_from(&self, data: &[u8], from: Ipv4Addr, to: SocketAddr) -> io::Result<()> {
        self.send_message(data, Extra::From(from), to)
    }

    /// Sends `data`, cut into datagrams of `segment` bytes (the last one may be shorter), to one destination. Returns how many datagrams
    /// went out; an error says that none did. Never waits.
    pub fn send_run(&self, data: &[u8], segment: usize, to: SocketAddr) -> io::Result<usize> {
        if data.is_empty() || segment == 0 {
            return Ok(0);
        }
        let count = data.len().div_ceil(segment);
        if count > 1 && self.segments() && count <= MAX_SEGMENTS && data.len() <= MAX_SEND {
            match self.send_message(data, Extra::Segment(segment as u16), to) {
                Ok(()) => return Ok(count),
                // The device cannot: never again with this socket.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                    self.segmentation.store(false, Ordering::Relaxed);
                }
                // The path to this destination cannot (its MTU is less than a segment): others are not to pay for it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut sent = 0;
        for datagram in data.chunks(segment) {
            match self.send_message(datagram, Extra::Nothing, to) {
                Ok(()) => sent += 1,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn send_message(&self, data: &[u8], extra: Extra, to: SocketAddr) -> io::Result<()> {
        let (mut name, name_len) = raw_address(to);
        let mut iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let mut control = Control([0; CONTROL]);
        // SAFETY: `msghdr` is plain data for which all zeroes is a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        match extra {
            Extra::Nothing => {}
            Extra::Segment(segment) => control.say(&mut header, libc::SOL_UDP, libc::UDP_SEGMENT, segment),
            Extra::From(from) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                control.say(&mut header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
        }
        loop {
            // SAFETY: all pointers in `header` are to live locals or to `data`, with their true lengths; the kernel only reads them.
            let sent = unsafe { libc::sendmsg(self.fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                // An ICMP error of an earlier datagram is reported (and cleared) here; this one was not sent yet.
                io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
        }
    }
}

/// What is said besides the data.
#[derive(Clone, Copy)]
enum Extra {
    Nothing,
    Segment(u16),
    From(Ipv4Addr),
}

/// Aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

impl Control {
    /// Makes one control message with plain data the only one of `header`.
    fn say<T: Copy>(&mut self, header: &mut libc::msghdr, level: libc::c_int, ty: libc::c_int, data: T) {
        const { assert!(size_of::<T>() <= size_of::<libc::in_pktinfo>()) };
        header.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: the space is aligned for `cmsghdr`, and 64 bytes hold one message with an `in_pktinfo` (CMSG_SPACE(12) is 32) or less;
        // `msg_controllen` is set so that CMSG_FIRSTHDR gives a pointer into it.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
            let message = libc::CMSG_FIRSTHDR(&raw const *header);
            (*message).cmsg_level = level;
            (*message).cmsg_type = ty;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
        }
    }
}

/// Datagrams of one size that came together from one sender.
#[derive(Debug)]
pub struct Burst<'a> {
    /// All of them, one after the other.
    pub data: &'a mut [u8],
    /// Size of all but the last, which may be shorter.
    pub segment: usize,
    /// Who sent them.
    pub from: SocketAddr,
    /// To which address of ours they came: sockets of [`Socket::bind_many`] tell.
    pub to: Option<Ipv4Addr>,
}

/// Buffers for one `recvmmsg`. About 1 MiB; one per thread is enough.
pub struct Inbox {
    data: Box<[u8]>,
    control: Box<[Control]>,
    names: Box<[libc::sockaddr_storage]>,
    filled: [Filled; BATCH],
    count: usize,
}

#[derive(Clone, Copy, Default)]
struct Filled {
    len: usize,
    /// 0: one datagram.
    segment: usize,
    from: Option<SocketAddr>,
    to: Option<Ipv4Addr>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbox {
    /// Empty buffers.
    pub fn new() -> Self {
        // SAFETY: `sockaddr_storage` is plain data for which all zeroes is a valid value.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            data: vec![0; BATCH * MESSAGE].into_boxed_slice(),
            control: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            names: vec![name; BATCH].into_boxed_slice(),
            filled: [Filled::default(); BATCH],
            count: 0,
        }
    }

    /// Takes what waits in the socket, up to the size of the buffers. `WouldBlock` when there is nothing.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<()> {
        self.count = 0;
        let mut iovs = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: `mmsghdr` is plain data (integers and pointers) for which all zeroes is a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { MaybeUninit::zeroed().assume_init() };
        for (index, ((header, iov), space)) in
            headers.iter_mut().zip(&mut iovs).zip(self.data.chunks_exact_mut(MESSAGE)).enumerate()
        {
            *iov = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
            header.msg_hdr.msg_iov = iov;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_control = self.control[index].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let count = loop {
            // SAFETY: each header points to its own part of buffers that live in `self` (or in `iovs`) and are not touched during the call;
            // the lengths are theirs.
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
                _ => return Err(error),
            }
        };
        for (index, header) in headers.iter().take(count).enumerate() {
            let len = (header.msg_len as usize).min(MESSAGE);
            let (segment, to) = told(&header.msg_hdr);
            self.filled[index] = Filled { len, segment, from: address(&self.names[index]), to };
        }
        self.count = count;
        Ok(())
    }

    /// Whether the last call filled all buffers, so that more may wait.
    pub fn full(&self) -> bool {
        self.count == BATCH
    }

    /// What the last call brought, as the kernel glued it. It may be changed in place.
    pub fn bursts(&mut self) -> impl Iterator<Item = Burst<'_>> {
        self.data.chunks_exact_mut(MESSAGE).zip(&self.filled).take(self.count).filter_map(|(space, filled)| {
            let segment = if filled.segment == 0 { filled.len.max(1) } else { filled.segment };
            Some(Burst { data: &mut space[..filled.len], segment, from: filled.from?, to: filled.to })
        })
    }

    /// The datagrams of the last call. They may be changed in place.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (&mut [u8], SocketAddr)> {
        self.bursts().flat_map(|burst| burst.data.chunks_mut(burst.segment).map(move |datagram| (datagram, burst.from)))
    }
}

/// Size of the datagrams that the kernel glued together (0 if it did not), and the address they were sent to.
fn told(header: &libc::msghdr) -> (usize, Option<Ipv4Addr>) {
    let (mut segment, mut to) = (0, None);
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
                    to = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    (segment, to)
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a `sockaddr_in`, which is smaller than `sockaddr_storage` and needs no more alignment.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            Some((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            Some((Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port)).into())
        }
        _ => None,
    }
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: `sockaddr_storage` is plain data for which all zeroes is a valid value.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: `sockaddr_storage` is larger than and aligned for `sockaddr_in`.
            let raw = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            (storage, size_of::<libc::sockaddr_in>() as u32)
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above, for `sockaddr_in6`.
            let raw = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            (storage, size_of::<libc::sockaddr_in6>() as u32)
        }
    }
}

/// More than the system's limit where we may, as much as allowed where we may not.
fn set_buffer(socket: &Inner, force: libc::c_int, plain: libc::c_int, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let fd = socket.as_raw_fd();
    if set_int(fd, libc::SOL_SOCKET, force, bytes).is_err() {
        let _ = set_int(fd, libc::SOL_SOCKET, plain, bytes);
    }
}

fn set_int(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value's address and size are those of a live `int`.
    let result =
        unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size_of::<libc::c_int>() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds the calling thread to one core. `false` if that is not possible; it then runs anywhere.
pub fn pin_thread(core: usize) -> bool {
    if core >= libc::CPU_SETSIZE as usize {
        return false;
    }
    // SAFETY: `cpu_set_t` is plain data for which all zeroes is the empty set; `core` is below CPU_SETSIZE; 0 is the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str) -> (Socket, Socket) {
        let address: SocketAddr = address.parse().unwrap();
        (Socket::bind(address, 1 << 20, true).unwrap(), Socket::bind(address, 1 << 20, true).unwrap())
    }

    /// Loopback delivers within the call, so that what was sent is there.
    fn drain(socket: &Socket) -> Vec<(Vec<u8>, SocketAddr)> {
        let mut inbox = Inbox::new();
        let mut all = Vec::new();
        while inbox.receive(socket).is_ok() {
            all.extend(inbox.datagrams().map(|(data, from)| (data.to_vec(), from)));
        }
        all
    }

    #[test]
    fn a_run_arrives_as_single_datagrams_with_its_sender() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = pair(address);
            let data: Vec<u8> = (0..250u8).collect();
            assert_eq!(a.send_run(&data, 100, b.local_addr()).unwrap(), 3);
            a.send(b"last", b.local_addr()).unwrap();
            let got = drain(&b);
            assert_eq!(got.iter().map(|(data, _)| data.len()).collect::<Vec<_>>(), [100, 100, 50, 4]);
            assert_eq!(got[2].0, data[200..]);
            assert!(got.iter().all(|(_, from)| *from == a.local_addr()));
        }
    }

    #[test]
    fn without_segmentation_a_run_is_sent_one_by_one() {
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let a = Socket::bind(address, 1 << 20, false).unwrap();
        let b = Socket::bind(address, 1 << 20, false).unwrap();
        assert!(!a.segments());
        assert_eq!(a.send_run(&[7; 2_500], 1_000, b.local_addr()).unwrap(), 3);
        assert_eq!(drain(&b).iter().map(|(data, _)| data.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    }

    #[test]
    fn a_destination_that_takes_no_run_costs_others_nothing() {
        let (a, b) = pair("127.0.0.1:0");
        // Port 0 is refused as a segment above the MTU of a path is: with EINVAL.
        let nowhere = SocketAddr::new(b.local_addr().ip(), 0);
        assert_eq!(a.send_run(&[7; 300], 100, nowhere).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(a.segments());
        assert_eq!(a.send_run(&[7; 300], 100, b.local_addr()).unwrap(), 3);
    }

    #[test]
    fn an_empty_socket_would_block() {
        let (a, _) = pair("127.0.0.1:0");
        assert_eq!(Inbox::new().receive(&a).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn one_socket_stands_for_many_addresses() {
        let many = Socket::bind_many(Ipv4Addr::UNSPECIFIED, 1 << 20).unwrap();
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (own, port) = (Ipv4Addr::new(127, 1, 2, 3), many.local_addr().port());
        other.send_to(b"hello", (own, port)).unwrap();
        let mut inbox = Inbox::new();
        inbox.receive(&many).unwrap();
        let burst = inbox.bursts().next().unwrap();
        assert_eq!((&*burst.data, burst.to, burst.from), (&b"hello"[..], Some(own), other.local_addr().unwrap()));
        many.send_from(b"back", own, other.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(other.recv_from(&mut buffer).unwrap(), (4, SocketAddr::from((own, port))));
        assert_eq!(inbox.receive(&many).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(inbox.bursts().count(), 0);
    }

    #[test]
    fn sockets_of_shards_share_a_port() {
        let a = Socket::bind("127.0.0.1:0".parse().unwrap(), 1 << 16, true).unwrap();
        let b = Socket::bind(a.local_addr(), 1 << 16, true).unwrap();
        assert_eq!(a.local_addr(), b.local_addr());
    }
}
