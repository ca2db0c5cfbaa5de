//! Estimate of the bandwidth towards a receiver: delay, loss, probing (`spec/bridge.md` 4.10).
//!
//! Send-side congestion control after Google's: packets are grouped by send time, the trend of their delay drives an AIMD rate ([`delay`],
//! [`aimd`]), a loss model bounds it ([`loss`]), probes lift it ([`probe`]). One [`Bwe`] per receiver; it works when feedback comes and when
//! [`Bwe::poll_timeout`] passes, and has no part in sending ordinary packets. There is no pacer and no congestion window.
