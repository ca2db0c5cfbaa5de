//! An authenticated client's SCTP and DCEP do not hurt the transport, and are not amplified without end.

use std::time::Duration;

use amphi_bridge::transport::DcepMessage;
use amphi_bridge::transport::fuzzing::Channel;

/// CRC-32C (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

/// A byte of options, two of length, then chunks, as often as there are: bit 0 leaves tag and ports as the input has them, bit 1 lets time
/// pass before, bit 2 gives a first DATA chunk the number that is waited for.
pub fn sctp(data: &[u8]) {
    if let Ok(message) = DcepMessage::parse(data) {
        assert_eq!(DcepMessage::parse(&message.write()), Ok(message));
    }
    let channel = run(data);
    assert!(channel.longest <= 4096, "a message of {} bytes", channel.longest);
}

fn run(data: &[u8]) -> Channel {
    let mut channel = Channel::open();
    let mut rest = data;
    while let [options, l0, l1, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1])).min(more.len()).min(1400);
        let (chunks, after) = more.split_at(length);
        rest = after;
        let mut packet = if options & 1 == 0 {
            let mut packet = vec![0x13, 0x88, 0x13, 0x88];
            packet.extend(channel.tag());
            packet.extend([0; 4]);
            packet.extend(chunks);
            packet
        } else {
            chunks.to_vec()
        };
        if options & 4 != 0 && packet.get(12) == Some(&0) && packet.len() >= 20 {
            packet[16..20].copy_from_slice(&channel.next_tsn().to_be_bytes());
        }
        if packet.len() >= 12 {
            packet[8..12].fill(0);
            let sum = crc32c(&packet).to_le_bytes();
            packet[8..12].copy_from_slice(&sum);
        }
        if options & 2 != 0 {
            channel.wait(Duration::from_millis(u64::from(*options) * 20));
        }
        channel.input(packet);
        assert!(channel.packets <= 64, "{} packets for one", channel.packets);
    }
    channel.wait(Duration::from_secs(1));
    channel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_reaches_the_channel() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sctp");
        for (name, messages) in [("data_text", 1), ("fragments", 1), ("binary", 0), ("empty_text", 1)] {
            let data = std::fs::read(corpus.join(name)).unwrap();
            assert_eq!(run(&data).messages, messages, "{name}");
        }
    }
}
