//! Selection of layers and rewriting of numbers, once per stream; receivers join and switch by offsets (`spec/bridge.md` 4.6, 9.5.2).
