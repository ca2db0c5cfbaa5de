//! What processes use, as the kernel tells it: CPU time, resident memory, socket memory. Linux only; elsewhere, or for a
//! process that is gone, there is no figure.

use std::{collections::HashMap, ffi::OsString, fs, path::Path};

/// Clock ticks per second of `/proc/PID/stat`: fixed for programs on Linux.
const TICKS: f64 = 100.0;
const PAGE: u64 = 4_096;

/// CPU time of a process over its life. Threads are added up to the nanosecond; the process's own count, which has only
/// ticks, takes over when threads came and went unseen.
#[derive(Debug)]
pub(crate) struct CpuClock {
    pid: String,
    threads: HashMap<OsString, u64>,
}

impl CpuClock {
    /// A clock for this process.
    pub(crate) fn new(pid: &str) -> Self {
        Self { pid: pid.to_owned(), threads: HashMap::new() }
    }

    /// Seconds so far; `None` when the process is gone.
    pub(crate) fn read(&mut self) -> Option<f64> {
        let whole = cpu(&self.pid)?;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten() {
            if let Some(nanos) = schedstat(&task.path().join("schedstat")) {
                self.threads.insert(task.file_name(), nanos);
            }
        }
        let threads = self.threads.values().sum::<u64>() as f64 / 1e9;
        // Two counts (user, system) are each rounded down to a tick.
        Some(threads.max(whole - 2.0 / TICKS))
    }
}

fn schedstat(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// CPU time of a process and its finished threads, in seconds.
fn cpu(pid: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is regular.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS)
}

/// CPU time of the calling thread, in nanoseconds.
pub(crate) fn thread_cpu() -> Option<u64> {
    schedstat(Path::new("/proc/thread-self/schedstat"))
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1_024)
}

/// Memory that the kernel holds for all TCP sockets of the network namespace, in bytes.
pub(crate) fn socket_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find(|l| l.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|w| *w != "mem");
    Some(words.nth(1)?.parse::<u64>().ok()? * PAGE)
}

/// UDP datagrams that this network namespace dropped because a receive buffer was full.
pub(crate) fn receive_buffer_errors() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut lines = text.lines().filter(|l| l.starts_with("Udp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|it| it == "RcvbufErrors")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

/// Most descriptors that this process may have open.
pub(crate) fn descriptor_limit() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    text.lines().find(|l| l.starts_with("Max open files"))?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_figures() {
        let mut clock = CpuClock::new("self");
        let before = clock.read().unwrap();
        let spent = thread_cpu().unwrap();
        while thread_cpu().unwrap() < spent + 60_000_000 {}
        // Threads of other tests that have ended are in the count of ticks only, which may be two ticks behind.
        assert!(clock.read().unwrap() >= before + 0.04 - 1e-9, "sixty milliseconds are seen");
        assert!(resident("self").is_some_and(|b| b > 100_000));
        assert!(descriptor_limit().is_some_and(|n| n > 2));
        assert!(socket_memory().is_some());
        assert!(thread_cpu().is_some());
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        assert_eq!(CpuClock::new("4194305").read(), None);
        assert_eq!(resident("4194305"), None);
    }
}
