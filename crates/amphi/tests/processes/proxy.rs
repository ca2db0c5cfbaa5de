//! A TCP proxy that breaks what it carries: after a number of bytes in either direction it forwards the part that still fits,
//! so that the cut falls into the middle of something, and resets both sides.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A proxy in front of one address.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    cuts: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts one that cuts a connection after so many bytes; for each connection some more, so that the cuts wander.
    pub(crate) async fn start(to: SocketAddr, bytes: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let cuts = Arc::new(AtomicU64::new(0));
        let count = cuts.clone();
        let task = tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((near, _)) = listener.accept().await {
                connection += 1;
                let count = count.clone();
                tokio::spawn(async move {
                    // Nobody there: the near side sees a connection that ends at once.
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    for side in [&near, &far] {
                        let _ = side.set_nodelay(true);
                        // A reset, not an orderly end: what is under way is lost.
                        let _ = side.set_zero_linger();
                    }
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    let left = Arc::new(AtomicU64::new(bytes + connection * 997 % (bytes / 2)));
                    let (one, other) = (pump(near_in, far_out, &left), pump(far_in, near_out, &left));
                    let cut = tokio::select! { cut = one => cut, cut = other => cut };
                    count.fetch_add(u64::from(cut), Ordering::Relaxed);
                });
            }
        });
        Ok(Self { address, cuts, task })
    }

    /// How many connections it has broken.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries bytes one way until there are none, or until `left` is used up: then `true`.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, left: &AtomicU64) -> bool {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return false };
        let had = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |l| Some(l.saturating_sub(n as u64)));
        let fits = had.unwrap_or_default().min(n as u64) as usize;
        if to.write_all(&buffer[..fits]).await.is_err() {
            return false;
        }
        if fits < n {
            // So that what was forwarded arrives before the reset.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return true;
        }
    }
}
