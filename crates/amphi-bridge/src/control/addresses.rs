//! The addresses of this machine, read from the kernel's tables, and which of them media uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::settings::Mapping;
use crate::transport::LocalAddress;

/// Addresses of all network interfaces, loopback too.
pub fn of_machine() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = ipv4(&read("/proc/net/fib_trie"));
    all.extend(ipv6(&read("/proc/net/if_inet6")));
    all
}

/// What media uses when nothing is configured: every address but loopback and link-local ones, with loopback if asked for or if there is
/// nothing else.
pub fn usual(machine: &[IpAddr], loopback: bool) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = machine.iter().copied().filter(|a| !a.is_loopback() && !is_link_local(*a)).collect();
    if loopback || all.is_empty() {
        all.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    all
}

/// The sockets' addresses, each with the public one that stands for it.
pub fn with_mappings(bound: &[SocketAddr], mappings: &[Mapping]) -> Vec<LocalAddress> {
    let fits = |m: &&Mapping, base: &SocketAddr| {
        let ip = m.local.ip();
        let same = if ip.is_unspecified() {
            ip.is_ipv4() == base.is_ipv4() && !base.ip().is_loopback()
        } else {
            ip == base.ip()
        };
        same && (m.local.port() == 0 || m.local.port() == base.port())
    };
    bound
        .iter()
        .map(|base| LocalAddress {
            base: *base,
            public: mappings.iter().find(|m| fits(m, base)).map(|m| {
                let port = if m.public.port() == 0 { base.port() } else { m.public.port() };
                SocketAddr::new(m.public.ip(), port)
            }),
        })
        .collect()
}

fn is_link_local(a: IpAddr) -> bool {
    match a {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Private addresses (`spec/bridge.md` 2.3), loopback and link-local ones: nobody elsewhere reaches them.
pub fn is_private(a: IpAddr) -> bool {
    is_link_local(a)
        || a.is_loopback()
        || match a {
            IpAddr::V4(a) => a.is_private(),
            IpAddr::V6(a) => a.segments()[0] & 0xfe00 == 0xfc00 || a.segments()[0] & 0xffc0 == 0xfec0,
        }
}

/// Host entries of the table of local routes.
fn ipv4(fib_trie: &str) -> Vec<IpAddr> {
    let mut all = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines() {
        let line = line.trim();
        if let Some(a) = line.strip_prefix("|-- ") {
            last = a.parse().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(a) = last
            && !all.contains(&IpAddr::V4(a))
        {
            all.push(IpAddr::V4(a));
        }
    }
    all
}

fn ipv6(if_inet6: &str) -> Vec<IpAddr> {
    let one = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        // Duplicate, tentative and deprecated addresses are of no use.
        let flags = u8::from_str_radix(fields.nth(3)?, 16).ok()?;
        (flags & (0x08 | 0x20 | 0x40) == 0).then(|| IpAddr::V6(Ipv6Addr::from(address)))
    };
    if_inet6.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 10.1.2.3\n           /32 host LOCAL\n        |-- 10.1.2.255\n           /32 link BROADCAST\nLocal:\n        |-- 10.1.2.3\n           /32 host LOCAL\n";
    const INET6: &str = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000007 02 40 00 80     eth0\nfe800000000000000000000000000001 02 40 20 80     eth0\n20010db8000000000000000000000008 02 40 00 40     eth0\n";

    #[test]
    fn addresses_are_read_and_the_useless_ones_left_out() {
        let mut all = ipv4(TRIE);
        assert_eq!(all.len(), 2);
        all.extend(ipv6(INET6));
        let texts: Vec<String> = usual(&all, false).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.1.2.3", "2001:db8::7"]);
        assert!(usual(&all, true).iter().any(IpAddr::is_loopback));
        assert_eq!(usual(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], false).len(), 1);
    }

    #[test]
    fn a_mapping_stands_for_one_address_or_for_all_of_its_kind() {
        let bound: Vec<SocketAddr> =
            ["10.1.2.3:10000", "127.0.0.1:10000", "[2001:db8::7]:10000"].iter().map(|a| a.parse().unwrap()).collect();
        let any = Mapping { local: "0.0.0.0:0".parse().unwrap(), public: "203.0.113.9:0".parse().unwrap() };
        let with = with_mappings(&bound, &[any]);
        assert_eq!(with[0].public, Some("203.0.113.9:10000".parse().unwrap()));
        assert_eq!((with[1].public, with[2].public), (None, None));
        let one = Mapping { local: "10.9.9.9:0".parse().unwrap(), public: "203.0.113.9:1".parse().unwrap() };
        assert!(with_mappings(&bound, &[one]).iter().all(|a| a.public.is_none()));
    }
}
