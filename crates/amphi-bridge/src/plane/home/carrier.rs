//! A transport on which publishers send: of one participant, or of a relay with many behind it.

use std::sync::Arc;
use std::time::Instant;

use amphi_media::receive::{ArrivalConfig, ArrivalRecorder, RtxMap};

use crate::plane::command::{Codec, Media};

pub(super) struct Carrier {
    pub(super) media: Arc<Media>,
    pub(super) rtx: RtxMap,
    pub(super) arrivals: ArrivalRecorder,
    /// Command numbers of FIR.
    pub(super) fir: u8,
}

impl Carrier {
    pub(super) fn new(now: Instant, media: Arc<Media>) -> Self {
        let mut carrier = Self {
            media: Arc::default(),
            rtx: RtxMap::new(),
            arrivals: ArrivalRecorder::new(now, ArrivalConfig::default()),
            fir: 0,
        };
        carrier.set_media(media);
        carrier
    }

    pub(super) fn set_media(&mut self, media: Arc<Media>) {
        for it in &media.payload_types {
            if let Codec::Rtx { apt } = it.codec {
                self.rtx.pair_type(it.number, apt);
            }
        }
        self.media = media;
    }

    /// How keyframes can be asked for: (PLI, FIR).
    pub(super) fn keyframe_requests(&self) -> (bool, bool) {
        let video = self.media.payload_types.iter().filter(|it| matches!(it.codec, Codec::Video(_)));
        video.fold((false, false), |(pli, fir), it| (pli || it.pli, fir || it.fir))
    }
}
