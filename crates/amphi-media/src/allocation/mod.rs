//! Which layer of which source a receiver gets: constraints, order, candidates, the staircase over bandwidth (`spec/bridge.md` 4.11, 9.5.2).
