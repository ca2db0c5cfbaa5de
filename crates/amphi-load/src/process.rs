//! What processes use, as the kernel tells it: CPU time, resident memory, socket memory. Linux only; elsewhere, or for a
//! process that is gone, there is no figure.

use std::fs;

/// Clock ticks per second of `/proc/PID/stat`: fixed for programs on Linux.
const TICKS: f64 = 100.0;
const PAGE: u64 = 4_096;

/// CPU time of a process and its finished threads, in seconds.
pub(crate) fn cpu(pid: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is regular.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS)
}

/// CPU time of the calling thread, in nanoseconds.
pub(crate) fn thread_cpu() -> Option<u64> {
    fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
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
        assert!(cpu("self").is_some_and(|s| s < 3_600.0));
        assert!(resident("self").is_some_and(|b| b > 100_000));
        assert!(descriptor_limit().is_some_and(|n| n > 2));
        assert!(socket_memory().is_some());
        assert!(thread_cpu().is_some());
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        assert_eq!(cpu("4194305"), None);
        assert_eq!(resident("4194305"), None);
    }
}
