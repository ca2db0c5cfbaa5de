//! The mark that lines and presences of a run carry: who sent it, which one it is, and when. Markers of other runs in the
//! same room (a probe beside a load) are told apart by the run's number.

use memchr::memmem;

const START: &[u8] = b"@load!";

/// What carries the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A chat line.
    Chat,
    /// A presence.
    Presence,
}

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The run.
    pub(crate) run: u32,
    /// Chat or presence.
    pub(crate) carrier: Carrier,
    /// Number of the sender in the run.
    pub(crate) sender: u32,
    /// Number of the line of this sender and carrier, from 0.
    pub(crate) seq: u32,
    /// When it was sent, on the clock of the run.
    pub(crate) sent: u64,
}

impl Marker {
    /// Appends the mark; it has no character that XML would escape.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(START);
        let carrier = match self.carrier {
            Carrier::Chat => 'c',
            Carrier::Presence => 'p',
        };
        let text = format!("{:08x}.{carrier}.{}.{}.{}!", self.run, self.sender, self.seq, self.sent);
        out.extend_from_slice(text.as_bytes());
    }

    /// The first mark in a frame.
    pub(crate) fn find(frame: &[u8]) -> Option<Self> {
        let at = memmem::find(frame, START)? + START.len();
        let rest = &frame[at..frame.len().min(at + 80)];
        let text = std::str::from_utf8(&rest[..memchr::memchr(b'!', rest)?]).ok()?;
        let mut parts = text.split('.');
        let run = u32::from_str_radix(parts.next()?, 16).ok()?;
        let carrier = match parts.next()? {
            "c" => Carrier::Chat,
            "p" => Carrier::Presence,
            _ => return None,
        };
        let sender = parts.next()?.parse().ok()?;
        let seq = parts.next()?.parse().ok()?;
        let sent = parts.next()?.parse().ok()?;
        Some(Self { run, carrier, sender, seq, sent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_mark_is_found_again() {
        let mark = Marker { run: 0xab, carrier: Carrier::Presence, sender: 7, seq: u32::MAX, sent: u64::MAX };
        let mut frame = b"<message><body>".to_vec();
        mark.write(&mut frame);
        frame.extend_from_slice(b" hello!</body></message>");
        assert_eq!(Marker::find(&frame), Some(mark));
    }

    #[test]
    fn other_texts_are_no_marks() {
        for text in ["", "hello", "@load!", "@load!x.c.1.2.3!", "@load!1.c.1.2!", "@load!00000001.c.1.2.3"] {
            assert_eq!(Marker::find(text.as_bytes()), None, "{text}");
        }
    }
}
