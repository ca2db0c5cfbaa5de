//! What the focus' presence in the main room says about media (`spec/focus.md` 1.4).

use std::time::Instant;

use super::bridges::limits_reached;
use super::state::Published;
use crate::conference::{Conference, Phase};
use crate::core::Core;

impl Conference {
    /// Something happened that may have to be told: to receivers now, in the room soon.
    pub(crate) fn media_changed(&mut self, core: &mut Core, now: Instant) {
        self.schedule_flushes(core, now);
        if self.phase != Phase::Started {
            return;
        }
        let (audio_limit, video_limit) =
            limits_reached(self.media.audio_senders, self.media.video_senders, &core.config);
        let is = Published {
            bridges: self.media.sessions.len(),
            codecs: self.media.preferences.common(),
            audio_limit,
            video_limit,
            no_bridge: self.media.no_bridge,
        };
        if is != self.media.published {
            self.media.published = is;
            self.publisher.changed(now);
        }
    }
}
