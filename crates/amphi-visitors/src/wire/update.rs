//! `<update/>` and the attributes it shares with `<connect/>`.

use amphi_stanza::{Element, XmlWriter, ns};

use super::{AMPHI, Sync, WireError};

/// Attributes of connect and update (`spec/signaling.md` 4.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Password of the main room; `None` (written as empty) clears it.
    pub password: Option<String>,
    /// Whether the main room has a lobby. `None` when not said: unchanged.
    pub lobby: Option<bool>,
    /// Meeting id of the main room, which the node adopts.
    pub meeting_id: Option<String>,
    /// When the main room was created, in milliseconds since 1970.
    pub created: Option<u64>,
    /// Whether users without a token may enter. `None` when not said: unchanged.
    pub allow_unauthenticated: Option<bool>,
}

fn flag(e: Element<'_>, name: &str) -> Option<bool> {
    match e.attr(name).as_deref() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    }
}

impl Settings {
    pub(crate) fn read(e: Element<'_>) -> Self {
        let text = |name| e.attr(name).filter(|v| !v.is_empty()).map(|v| v.into_owned());
        Self {
            password: text("password"),
            lobby: flag(e, "lobby"),
            meeting_id: text("meetingId"),
            // Peers that count in Lua may write a fraction.
            created: text("createdTimestamp").and_then(|v| v.split('.').next().and_then(|v| v.parse().ok())),
            allow_unauthenticated: flag(e, "allowUnauthenticatedAccess"),
        }
    }

    pub(crate) fn write_attrs(&self, w: &mut XmlWriter) {
        w.attr("password", self.password.as_deref().unwrap_or_default());
        w.attr_opt("lobby", self.lobby).attr_opt("meetingId", self.meeting_id.as_ref());
        w.attr_opt("createdTimestamp", self.created);
        w.attr_opt("allowUnauthenticatedAccess", self.allow_unauthenticated);
    }
}

/// A shared file, as the file component wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Its id.
    pub id: String,
    /// JSON about it.
    pub json: String,
}

/// The room's properties, complete unless `partial`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Attributes.
    pub settings: Settings,
    /// Endpoint ids of all moderators. `None` when not said: unchanged.
    pub moderators: Option<Vec<String>>,
    /// Shared files; `None` when nothing was ever shared.
    pub files: Option<Vec<SharedFile>>,
    /// The polls component's `old-polls` JSON; `None` when there is no poll.
    pub polls: Option<String>,
    /// Extension: this update opens a synchronisation.
    pub sync: Option<Sync>,
    /// Extension: files and polls that are absent here are unchanged. Only written to nodes that know the extension.
    pub partial: bool,
}

impl Update {
    pub(crate) fn read(e: Element<'_>) -> Result<Self, WireError> {
        let list = |name: &str, item: &str| {
            e.child(name, ns::VISITORS).map(|l| l.children().filter(|c| c.name() == item).collect::<Vec<_>>())
        };
        let moderators = list("moderators", "item")
            .map(|l| l.iter().filter_map(|i| i.attr("epId").map(|v| v.into_owned())).collect());
        let files = list("files", "file").map(|l| {
            l.iter()
                .filter_map(|f| Some(SharedFile { id: f.attr("id")?.into_owned(), json: f.text().into_owned() }))
                .collect()
        });
        Ok(Self {
            settings: Settings::read(e),
            moderators,
            files,
            polls: e.child("polls", ns::VISITORS).map(|p| p.text().into_owned()),
            sync: Sync::read(e)?,
            partial: e.child("partial", AMPHI).is_some(),
        })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("update");
        self.settings.write_attrs(w);
        if let Some(m) = &self.moderators {
            w.open("moderators");
            for id in m {
                w.open("item").attr("epId", id).close();
            }
            w.close();
        }
        if let Some(f) = &self.files {
            w.open("files");
            for f in f {
                w.open("file").attr("id", &f.id).text(&f.json).close();
            }
            w.close();
        }
        if let Some(p) = &self.polls {
            w.text_element("polls", p);
        }
        if let Some(s) = &self.sync {
            s.write(w);
        }
        if self.partial {
            w.empty("partial", AMPHI);
        }
        w.close();
    }
}
