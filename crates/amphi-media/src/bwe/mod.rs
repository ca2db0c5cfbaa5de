//! Estimate of the bandwidth towards a receiver: delay, loss, probing (`spec/bridge.md` 4.10).
