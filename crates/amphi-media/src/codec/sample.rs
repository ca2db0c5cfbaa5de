//! Dependency descriptors as senders write them, for tests.

use super::bits::BitWriter;

/// A template: layers, indications (`-DSR`, one for each target), frames back to references and chains.
pub(crate) struct Template(pub(crate) u8, pub(crate) u8, pub(crate) &'static str, &'static [u8], &'static [u8]);

/// A structure as it is sent with keyframes.
pub(crate) struct Sketch {
    pub(crate) templates: &'static [Template],
    protected_by: &'static [u8],
    pub(crate) resolutions: &'static [(u16, u16)],
}

/// One spatial layer, three temporal ones. Templates: key, T0, T1, T2 after T0, T2 after T1.
pub(crate) const L1T3: Sketch = Sketch {
    templates: &[
        Template(0, 0, "SSS", &[], &[0]),
        Template(0, 0, "SSS", &[4], &[4]),
        Template(0, 1, "-DS", &[2], &[2]),
        Template(0, 2, "--D", &[1], &[1]),
        Template(0, 2, "--D", &[1], &[3]),
    ],
    protected_by: &[0, 0, 0],
    resolutions: &[(640, 360)],
};

/// Two spatial layers, two temporal ones, dependencies between spatial layers in key pictures only. Templates: key S0, S0 T0, S0 T1, key S1, S1 T0,
/// S1 T1. Targets: S0 T0, S0 T1, S1 T0, S1 T1.
pub(crate) const L2T2_KEY: Sketch = Sketch {
    templates: &[
        Template(0, 0, "SSSS", &[], &[0, 0]),
        Template(0, 0, "SR--", &[4], &[4, 3]),
        Template(0, 1, "-D--", &[2], &[2, 1]),
        Template(1, 0, "--SS", &[1], &[1, 1]),
        Template(1, 0, "--SS", &[4], &[1, 4]),
        Template(1, 1, "---D", &[2], &[3, 2]),
    ],
    protected_by: &[0, 0, 1, 1],
    resolutions: &[(320, 180), (640, 360)],
};

/// A descriptor to be written.
#[derive(Clone, Default)]
pub(crate) struct Sent<'a> {
    pub(crate) start: bool,
    pub(crate) end: bool,
    /// Index into the templates of the structure, and the offset of its ids.
    pub(crate) template: u8,
    pub(crate) offset: u8,
    pub(crate) frame_number: u16,
    pub(crate) structure: Option<&'a Sketch>,
    /// Mask and number of targets.
    pub(crate) active: Option<(u32, u32)>,
    pub(crate) dtis: Option<&'a str>,
    pub(crate) fdiffs: Option<&'a [u16]>,
    pub(crate) chains: Option<&'a [u8]>,
}

fn indication(c: char) -> u32 {
    "-DSR".find(c).expect("an indication") as u32
}

/// `ns(n)`.
fn below(w: &mut BitWriter<'_>, value: u32, n: u32) {
    let width = 32 - n.leading_zeros();
    let short = (1 << width) - n;
    if value < short { w.bits(value, width - 1) } else { w.bits(value + short, width) }.expect("room");
}

impl Sent<'_> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![0; 200];
        let mut w = BitWriter::new(&mut out);
        let mut bits = |value: u32, count| w.bits(value, count).expect("room");
        bits(self.start.into(), 1);
        bits(self.end.into(), 1);
        bits((self.template + self.offset).into(), 6);
        bits(self.frame_number.into(), 16);
        let flags = [
            self.structure.is_some(),
            self.active.is_some(),
            self.dtis.is_some(),
            self.fdiffs.is_some(),
            self.chains.is_some(),
        ];
        if flags.contains(&true) {
            flags.iter().for_each(|f| bits((*f).into(), 1));
            if let Some(s) = self.structure {
                write_structure(&mut w, s, self.offset);
            }
            let mut bits = |value: u32, count| w.bits(value, count).expect("room");
            if let Some((mask, count)) = self.active {
                bits(mask, count);
            }
            self.dtis.into_iter().flat_map(str::chars).for_each(|c| bits(indication(c), 2));
            if let Some(fdiffs) = self.fdiffs {
                for diff in fdiffs {
                    let size = if *diff <= 16 { 1 } else { 2 };
                    bits(size, 2);
                    bits(u32::from(*diff) - 1, size * 4);
                }
                bits(0, 2);
            }
            self.chains.into_iter().flatten().for_each(|c| bits((*c).into(), 8));
        }
        let length = w.position().div_ceil(8);
        out.truncate(length);
        out
    }
}

fn write_structure(w: &mut BitWriter<'_>, s: &Sketch, offset: u8) {
    let targets = s.templates[0].2.len() as u32;
    let chains = s.templates[0].4.len() as u32;
    w.bits(offset.into(), 6).unwrap();
    w.bits(targets - 1, 5).unwrap();
    for pair in s.templates.windows(2) {
        let idc = if pair[1].0 > pair[0].0 { 2 } else { u32::from(pair[1].1 > pair[0].1) };
        w.bits(idc, 2).unwrap();
    }
    w.bits(3, 2).unwrap();
    s.templates.iter().flat_map(|t| t.2.chars()).for_each(|c| w.bits(indication(c), 2).unwrap());
    for t in s.templates {
        for diff in t.3 {
            w.bits(1, 1).unwrap();
            w.bits(u32::from(*diff) - 1, 4).unwrap();
        }
        w.bits(0, 1).unwrap();
    }
    below(w, chains, targets + 1);
    s.protected_by.iter().for_each(|c| below(w, (*c).into(), chains));
    s.templates.iter().flat_map(|t| t.4).for_each(|c| w.bits((*c).into(), 4).unwrap());
    w.bits(u32::from(!s.resolutions.is_empty()), 1).unwrap();
    for (width, height) in s.resolutions {
        w.bits(u32::from(*width) - 1, 16).unwrap();
        w.bits(u32::from(*height) - 1, 16).unwrap();
    }
}

mod tests {
    use super::*;
    use crate::codec::dependency::{DescriptorError, Indication, Reader, patch, rewrite};
    use crate::codec::{Codec, Parser};

    fn key(offset: u8) -> Sent<'static> {
        Sent { start: true, end: true, offset, frame_number: 7, structure: Some(&L2T2_KEY), ..Sent::default() }
    }

    #[test]
    fn a_structure_is_read() {
        let d = Reader::new().read(&key(62).write()).unwrap();
        let s = &d.structure;
        assert_eq!((s.offset, s.decode_targets, s.templates.len()), (62, 4, 6));
        assert_eq!(&s.layers[..], [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert_eq!(&s.protected_by[..], [0, 0, 1, 1]);
        assert_eq!(s.resolutions[1], (640, 360));
        assert!(d.attached && d.start && d.end);
        assert_eq!((d.template_id, d.frame_number, d.targets()), (62, 7, 0b1111));
        assert_eq!((s.targets_within(1), s.targets_within(2), s.lowest_temporal(3)), (0b0011, 0b0101, Some(2)));
    }

    #[test]
    fn templates_and_what_replaces_them() {
        let mut r = Reader::new();
        r.read(&key(62).write()).unwrap();
        // Id 62 + 5 = 3, modulo 64.
        let id = (62 + 5) % 64;
        let d = r.read(&[id, 0, 8]).unwrap();
        assert_eq!((d.spatial, d.temporal, d.references(), d.chains()), (1, 1, &[2][..], &[3, 2][..]));
        assert_eq!(d.indication(3), Indication::Discardable);
        assert_eq!(d.indication(31), Indication::NotPresent);
        let custom = Sent {
            template: 1,
            offset: 62,
            frame_number: 9,
            active: Some((0b11, 4)),
            dtis: Some("RS-D"),
            fdiffs: Some(&[3, 200]),
            chains: Some(&[77, 255]),
            ..Sent::default()
        };
        let raw = custom.write();
        let d = r.read(&raw).unwrap();
        assert_eq!(d.references(), [3, 200]);
        assert_eq!(d.chains(), [77, 255]);
        assert_eq!((d.indication(0), d.indication(1)), (Indication::Required, Indication::Switch));
        assert_eq!((d.active, d.targets()), (Some(0b11), 0b1011));
        for n in 0..raw.len() {
            // Three bytes are a descriptor of their own.
            assert_eq!(r.read(&raw[..n]).is_ok(), n == 3, "{n}");
        }
    }

    #[test]
    fn unknown_templates_need_a_keyframe() {
        let mut r = Reader::new();
        assert_eq!(r.read(&[0, 0, 1]), Err(DescriptorError::UnknownTemplate));
        r.read(&key(10).write()).unwrap();
        assert_eq!(r.read(&[9, 0, 1]), Err(DescriptorError::UnknownTemplate));
        assert_eq!(r.read(&[16, 0, 1]), Err(DescriptorError::UnknownTemplate));
        assert!(r.read(&[15, 0, 1]).is_ok());
        // The next structure; what is late refers to the one before.
        r.read(&key(16).write()).unwrap();
        assert_eq!(r.read(&[15, 0, 1]).unwrap().structure.offset, 10);
        assert_eq!(r.read(&[16, 0, 1]).unwrap().structure.offset, 16);
    }

    #[test]
    fn only_the_mask_changes_when_it_is_rewritten() {
        let mut r = Reader::new();
        let with_all = Sent {
            dtis: Some("RS-D"),
            fdiffs: Some(&[3, 200]),
            chains: Some(&[77, 255]),
            active: Some((0b1111, 4)),
            ..key(3)
        };
        let before = Sent { active: None, ..with_all.clone() };
        for sent in [with_all, before, key(3), Sent { template: 2, offset: 3, ..Sent::default() }] {
            let raw = sent.write();
            let d = r.read(&raw).unwrap();
            for mask in [Some(0b0011), None] {
                let written = rewrite(&raw, &d, mask);
                let again = r.read(&written).unwrap();
                assert_eq!(again.active, mask);
                assert_eq!((again.structure.clone(), again.attached), (d.structure.clone(), d.attached));
                assert_eq!(
                    (again.references(), again.chains(), again.targets()),
                    (d.references(), d.chains(), d.targets())
                );
                assert_eq!((again.template_id, again.frame_number), (d.template_id, d.frame_number));
            }
            assert_eq!(&rewrite(&raw, &d, d.active)[..], &raw[..]);
        }
    }

    #[test]
    fn patching_shifts_ids_modulo_64() {
        let mut raw = key(60).write();
        patch(&mut raw, 0xabcd, 10);
        let d = Reader::new().read(&raw).unwrap();
        assert_eq!((d.template_id, d.structure.offset, d.frame_number), (6, 6, 0xabcd));
        assert_eq!(d.structure.resolutions[1], (640, 360));
        patch(&mut [1, 2], 0, 0);
        let mut short = [0xc5, 0, 0];
        patch(&mut short, 0x0102, 63);
        assert_eq!(short, [0xc4, 1, 2]);
    }

    #[test]
    fn layering_follows_structure_and_active_targets() {
        let mut p = Parser::new();
        let frame = p.parse(Codec::Av1, &[], Some(&key(0).write()), true).unwrap();
        assert!(frame.layering_changed && frame.keyframe);
        assert_eq!(p.layering().layers.len(), 4);
        assert_eq!(p.layering().layer(3).map(|l| (l.height, l.deci_fps, l.active)), Some((Some(360), 300, true)));
        let again = p.parse(Codec::Av1, &[], Some(&key(0).write()), true).unwrap();
        assert!(!again.layering_changed);
        let less = Sent { template: 1, frame_number: 8, active: Some((0b0011, 4)), ..Sent::default() };
        let frame = p.parse(Codec::Av1, &[], Some(&less.write()), true).unwrap();
        assert!(frame.layering_changed && !frame.keyframe);
        assert!(p.layering().layer(3).is_some_and(|l| !l.active));
        assert!(frame.counts_for(1) && !frame.counts_for(3));
        let error = p.parse(Codec::Av1, &[], Some(&[40, 0, 1]), true).unwrap_err();
        assert!(error.needs_keyframe());
    }
}
