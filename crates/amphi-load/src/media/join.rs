//! How clients are let in: paced or as fast as they connect, with an eye on those who never do.

use std::time::{Duration, Instant};

use super::run::Run;

impl Run {
    /// Lets clients join, and waits until each is connected or has failed. Returns how many connected.
    /// `rate`: joins started per second.
    pub(super) fn join(&mut self, phase: &'static str, clients: std::ops::Range<u32>, rate: Option<f64>) -> u64 {
        let wanted = u64::from(clients.end - clients.start);
        let (connects, settled) = (self.live.get(|it| &it.connects), self.settled());
        let (mut started, mut next, begin) = (0, clients.start, Instant::now());
        let patience = Duration::from_secs_f64(self.args.join_timeout);
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let done = self.settled() - settled;
            while next < clients.end {
                let may = match rate {
                    Some(rate) => (begin.elapsed().as_secs_f64() * rate) as u64 + 1,
                    None => done + self.args.concurrency,
                };
                if started >= may {
                    break;
                }
                self.signaling.join(next);
                next += 1;
                started += 1;
            }
            if done >= wanted || self.is_broken() {
                break;
            }
            if done != seen || next < clients.end {
                (seen, since) = (done, Instant::now());
            } else if since.elapsed() > patience {
                self.problems.push(format!("{} of {wanted} clients never connected ({phase})", wanted - done));
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            self.look(phase);
        }
        self.live.get(|it| &it.connects) - connects
    }

    /// Clients whose way has come to an end.
    fn settled(&self) -> u64 {
        self.live.get(|it| &it.connects) + self.live.get(|it| &it.failed) + self.signaling.state().failed
    }
}
