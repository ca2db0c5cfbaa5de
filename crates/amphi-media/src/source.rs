//! Sources, encodings and layers (`spec/bridge.md` 4.1): what a sender signaled, what its media showed, what its layers cost. Decisions
//! ([`crate::allocation`]) read it; the media plane refines it. Knows no packets.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::{EndpointId, LayerIndex, MediaKind, SourceId};

pub mod rates;

pub use rates::{LayerMeter, Nesting};

/// What a video source shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VideoType {
    /// A camera.
    #[default]
    Camera,
    /// A screen.
    Desktop,
    /// A screen, frame rate before sharpness.
    DesktopHighFps,
    /// No video for now.
    Disabled,
    /// No video.
    None,
}

impl VideoType {
    /// Upper and lower case are equal (`spec/bridge.md` 3.2, SourceVideoTypeMessage).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Camera, Self::Desktop, Self::DesktopHighFps, Self::Disabled, Self::None]
            .into_iter()
            .find(|it| it.as_str().eq_ignore_ascii_case(text))
    }

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "CAMERA",
            Self::Desktop => "DESKTOP",
            Self::DesktopHighFps => "DESKTOP_HIGH_FPS",
            Self::Disabled => "DISABLED",
            Self::None => "NONE",
        }
    }

    /// Whether there is video.
    pub fn is_enabled(self) -> bool {
        !matches!(self, Self::Disabled | Self::None)
    }

    /// Whether it is a screen.
    pub fn is_screen(self) -> bool {
        matches!(self, Self::Desktop | Self::DesktopHighFps)
    }
}

/// What a group of SSRCs means (`ssrc-group`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// Simulcast: encodings from lowest to highest.
    Sim,
    /// An SSRC and its retransmissions.
    Fid,
    /// An SSRC and its forward error correction.
    Fec,
}

/// A group of SSRCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// What it means.
    pub semantics: Semantics,
    /// Its members, in order.
    pub ssrcs: Vec<u32>,
}

/// One source as signaled: the SSRCs of one `media-source` and their groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signaled {
    /// Number that the control plane gave it.
    pub id: SourceId,
    /// Name, as `77aa01ff-v0`.
    pub name: Arc<str>,
    /// Audio or video.
    pub kind: MediaKind,
    /// `videoType` of the first SSRC that has one.
    pub video_type: Option<VideoType>,
    /// All SSRCs, in order.
    pub ssrcs: Vec<u32>,
    /// Groups, in order.
    pub groups: Vec<SsrcGroup>,
    /// Made by a service (translation), heard only by those who ask for it.
    pub synthetic: bool,
}

/// A forwardable quality step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Its index inside the source.
    pub index: LayerIndex,
    /// Height in pixels.
    pub height: u16,
    /// Frames per second, if known.
    pub fps: Option<f32>,
    /// Measured rate, including the layers that it needs; 0 if nothing comes.
    pub bps: u64,
    /// Whether the sender says that it sends it.
    pub active: bool,
}

impl Layer {
    /// What it costs now: nothing if it is not sent.
    pub fn cost(&self) -> u64 {
        if self.active { self.bps } else { 0 }
    }
}

/// What media says about a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerShape {
    /// Its index inside the source.
    pub index: LayerIndex,
    /// Height, if told; else the earlier one stays.
    pub height: Option<u16>,
    /// Frames per second, if told.
    pub fps: Option<f32>,
    /// Whether it is sent.
    pub active: bool,
}

/// One simulcast stream of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// Its SSRC.
    pub ssrc: u32,
    /// SSRC of retransmissions.
    pub rtx: Option<u32>,
    /// SSRC of forward error correction.
    pub fec: Option<u32>,
    /// Layers by rising index.
    pub layers: SmallVec<[Layer; 3]>,
}

/// A source: who sends it, in which encodings and layers.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDesc {
    /// Number.
    pub id: SourceId,
    /// Name, as `77aa01ff-v0`.
    pub name: Arc<str>,
    /// Who sends it.
    pub owner: EndpointId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows (meaningless for audio).
    pub video_type: VideoType,
    /// Made by a service, heard only by those who ask for it.
    pub synthetic: bool,
    /// From lowest to highest; empty if nothing usable was signaled.
    pub encodings: SmallVec<[Encoding; 3]>,
}

/// Encodings beyond these are ignored: the index has room for more, browsers send three.
const MAX_ENCODINGS: usize = 4;
/// Layers that one encoding may show: three spatial by three temporal, or AV1's decode targets.
const MAX_LAYERS: usize = 32;

impl SourceDesc {
    /// From signaling: a SIM group gives the encodings; without one the first FID group; without that the first SSRC.
    pub fn new(owner: EndpointId, signaled: Signaled) -> Self {
        let Signaled { id, name, kind, video_type, ssrcs, groups, synthetic } = signaled;
        let group = |semantics| groups.iter().find(|g| g.semantics == semantics && !g.ssrcs.is_empty());
        let secondary = |ssrc: u32, semantics| {
            groups
                .iter()
                .find(|g| g.semantics == semantics && g.ssrcs.len() == 2 && g.ssrcs[0] == ssrc)
                .map(|g| g.ssrcs[1])
        };
        let primaries: SmallVec<[u32; 4]> = match (kind, group(Semantics::Sim), group(Semantics::Fid)) {
            (MediaKind::Video, Some(sim), _) => sim.ssrcs.iter().copied().take(MAX_ENCODINGS).collect(),
            (MediaKind::Video, None, Some(fid)) => fid.ssrcs.iter().copied().take(1).collect(),
            _ => ssrcs.first().copied().into_iter().collect(),
        };
        let encodings = primaries
            .iter()
            .enumerate()
            .map(|(eid, &ssrc)| Encoding {
                ssrc,
                rtx: secondary(ssrc, Semantics::Fid),
                fec: secondary(ssrc, Semantics::Fec),
                layers: if kind == MediaKind::Video { assumed(eid as u8) } else { SmallVec::new() },
            })
            .collect();
        Self { id, name, owner, kind, video_type: video_type.unwrap_or_default(), synthetic, encodings }
    }

    /// SSRC of the lowest encoding.
    pub fn primary_ssrc(&self) -> Option<u32> {
        self.encodings.first().map(|it| it.ssrc)
    }

    /// Encoding of an SSRC, and whether it is the one of retransmissions.
    pub fn encoding_of(&self, ssrc: u32) -> Option<(u8, bool)> {
        self.encodings
            .iter()
            .enumerate()
            .find_map(|(eid, it)| (it.ssrc == ssrc || it.rtx == Some(ssrc)).then_some((eid as u8, it.ssrc != ssrc)))
    }

    /// All SSRCs: media, retransmission, error correction.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + '_ {
        self.encodings.iter().flat_map(|it| [Some(it.ssrc), it.rtx, it.fec]).flatten()
    }

    /// All layers by rising index.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> + '_ {
        self.encodings.iter().flat_map(|it| &it.layers)
    }

    /// Takes what media showed of the layers of one encoding (they replace the former ones; rates stay). True if that changes a decision:
    /// "layering changed".
    pub fn refine(&mut self, encoding: u8, shapes: &[LayerShape]) -> bool {
        let Some(it) = self.encodings.get_mut(usize::from(encoding)) else { return false };
        let fallback = it.layers.first().map_or(180, |layer| layer.height);
        let mut layers: SmallVec<[Layer; 3]> = shapes
            .iter()
            .filter(|shape| shape.index.encoding() == encoding)
            .take(MAX_LAYERS)
            .map(|shape| {
                let old = it.layers.iter().find(|layer| layer.index == shape.index);
                Layer {
                    index: shape.index,
                    height: shape.height.or(old.map(|layer| layer.height)).unwrap_or(fallback),
                    fps: shape.fps.filter(|fps| fps.is_finite() && *fps > 0.0).or(old.and_then(|layer| layer.fps)),
                    bps: old.map_or(0, |layer| layer.bps),
                    active: shape.active,
                }
            })
            .collect();
        layers.sort_by_key(|layer| layer.index);
        layers.dedup_by_key(|layer| layer.index);
        if layers.is_empty() || layers == it.layers {
            return false;
        }
        it.layers = layers;
        true
    }

    /// Sets the height of all layers of one encoding (VP8 tells it in keyframes). True if it changed.
    pub fn set_height(&mut self, encoding: u8, height: u16) -> bool {
        let Some(it) = self.encodings.get_mut(usize::from(encoding)) else { return false };
        let changed = it.layers.iter().any(|layer| layer.height != height);
        it.layers.iter_mut().for_each(|layer| layer.height = height);
        changed
    }

    /// Sets measured rates; what is not mentioned stays. True if a layer began, ended, or changed by more than `threshold` (0.1 = a tenth)
    /// since the last time that this was true, so that slow drift is noticed too.
    pub fn set_rates(&mut self, rates: &[(LayerIndex, u64)], threshold: f64) -> bool {
        let notable = |old: u64, new: u64| {
            (old == 0) != (new == 0) || (new as f64 - old as f64).abs() > threshold * (old as f64).max(1.0)
        };
        let find = |index| rates.iter().find(|(it, _)| *it == index).map(|(_, bps)| *bps);
        let changed = self.layers().any(|layer| find(layer.index).is_some_and(|bps| notable(layer.bps, bps)));
        if changed {
            for layer in self.encodings.iter_mut().flat_map(|it| &mut it.layers) {
                layer.bps = find(layer.index).unwrap_or(layer.bps);
            }
        }
        changed
    }

    /// Takes over what media showed of `old`, the same source before it was signaled anew, for encodings whose SSRC stayed.
    pub fn inherit(&mut self, old: &Self) {
        for (eid, it) in self.encodings.iter_mut().enumerate() {
            if let Some(same) = old.encodings.get(eid).filter(|same| same.ssrc == it.ssrc) {
                it.layers.clone_from(&same.layers);
            }
        }
    }
}

/// Layers assumed before media shows them; to assume too many does no harm.
fn assumed(encoding: u8) -> SmallVec<[Layer; 3]> {
    (0..3u8)
        .map(|tid| Layer {
            index: LayerIndex::new(encoding, 0, tid),
            height: 180 << encoding.min(4),
            fps: Some(7.5 * f32::from(1u8 << tid)),
            bps: 0,
            active: true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signaled(ssrcs: &[u32], groups: &[(Semantics, &[u32])]) -> Signaled {
        Signaled {
            id: SourceId(1),
            name: "77aa01ff-v0".into(),
            kind: MediaKind::Video,
            video_type: None,
            ssrcs: ssrcs.to_vec(),
            groups: groups
                .iter()
                .map(|(semantics, s)| SsrcGroup { semantics: *semantics, ssrcs: s.to_vec() })
                .collect(),
            synthetic: false,
        }
    }

    #[test]
    fn a_simulcast_group_gives_encodings_each_with_its_retransmission() {
        use Semantics::{Fid, Sim};
        let groups: &[(Semantics, &[u32])] = &[(Sim, &[1, 2, 3]), (Fid, &[1, 11]), (Fid, &[3, 13])];
        let desc = SourceDesc::new(EndpointId(1), signaled(&[1, 2, 3, 11, 13], groups));
        let pairs: Vec<_> = desc.encodings.iter().map(|it| (it.ssrc, it.rtx)).collect();
        assert_eq!(pairs, [(1, Some(11)), (2, None), (3, Some(13))]);
        assert_eq!(desc.encoding_of(13), Some((2, true)));
        assert_eq!(desc.encoding_of(2), Some((1, false)));
        assert_eq!(desc.encoding_of(7), None);
        let heights: Vec<_> = desc.layers().map(|layer| (layer.index, layer.height, layer.fps)).collect();
        assert_eq!(heights[0], (LayerIndex::new(0, 0, 0), 180, Some(7.5)));
        assert_eq!(heights[8], (LayerIndex::new(2, 0, 2), 720, Some(30.0)));
    }

    #[test]
    fn without_simulcast_the_first_retransmission_pair_counts_and_else_the_first_ssrc() {
        let desc = SourceDesc::new(EndpointId(1), signaled(&[5, 6, 7], &[(Semantics::Fid, &[6, 7])]));
        assert_eq!(desc.encodings.len(), 1);
        assert_eq!((desc.primary_ssrc(), desc.encodings[0].rtx), (Some(6), Some(7)));
        let desc = SourceDesc::new(EndpointId(1), signaled(&[5, 6], &[]));
        assert_eq!((desc.encodings.len(), desc.primary_ssrc()), (1, Some(5)));
        assert_eq!(SourceDesc::new(EndpointId(1), signaled(&[], &[])).primary_ssrc(), None);
    }

    #[test]
    fn media_refines_layers_and_keeps_rates() {
        let mut desc = SourceDesc::new(EndpointId(1), signaled(&[5], &[]));
        assert!(desc.set_rates(&[(LayerIndex::new(0, 0, 1), 100_000)], 0.1));
        assert!(!desc.set_rates(&[(LayerIndex::new(0, 0, 1), 105_000)], 0.1));
        assert!(desc.set_rates(&[(LayerIndex::new(0, 0, 1), 111_000)], 0.1), "drift adds up");
        let shape = |tid, height| LayerShape { index: LayerIndex::new(0, 0, tid), height, fps: None, active: true };
        assert!(desc.refine(0, &[shape(1, Some(720)), shape(0, Some(720))]));
        assert!(!desc.refine(0, &[shape(0, None), shape(1, None)]), "nothing new");
        let layers: Vec<_> = desc.layers().map(|layer| (layer.height, layer.bps)).collect();
        assert_eq!(layers, [(720, 0), (720, 111_000)]);
        assert!(!desc.refine(3, &[shape(0, None)]), "no such encoding");
        assert!(!desc.refine(0, &[]), "media never takes the last layer away");
    }

    #[test]
    fn video_types_are_read_in_any_case() {
        assert_eq!(VideoType::parse("desktop_high_fps"), Some(VideoType::DesktopHighFps));
        assert_eq!(VideoType::parse("none"), Some(VideoType::None));
        assert_eq!(VideoType::parse("cinema"), None);
    }
}
