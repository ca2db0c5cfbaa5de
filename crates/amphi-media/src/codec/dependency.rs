//! Dependency descriptor (AV1 RTP specification, appendix A): which frame this is, what it needs, and for which decode targets it counts.
//!
//! A [`Reader`] per SSRC keeps the template structures, since most packets only name a template. [`rewrite`] adds or replaces the mask of active
//! decode targets; frame number and template ids are patched in place ([`patch`]), since they are at fixed positions.

use std::sync::Arc;

use smallvec::SmallVec;

use super::bits::{BitReader, BitWriter};

/// Templates of a structure: their ids have six bits.
const MAX_TEMPLATES: usize = 64;
/// Bits before the template structure: start, end, template id, frame number, five flags.
const STRUCTURE_AT: usize = 29;

/// What a frame means to a decode target (DTI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// Not part of it.
    NotPresent,
    /// Part of it, no later frame of it needs it.
    Discardable,
    /// One may begin to decode the target here.
    Switch,
    /// Part of it, later frames need it.
    Required,
}

impl Indication {
    fn of(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::NotPresent,
            1 => Self::Discardable,
            2 => Self::Switch,
            _ => Self::Required,
        }
    }
}

/// What packets refer to by template id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Two bits for each decode target.
    dtis: u64,
    /// How many frames back the references are.
    fdiffs: SmallVec<[u16; 4]>,
    /// How many frames back the previous frame of each chain is; 0 for none.
    chains: SmallVec<[u8; 4]>,
}

/// A template dependency structure: comes with keyframes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Id of the first template.
    pub offset: u8,
    /// Number of decode targets: 1 to 32.
    pub decode_targets: u8,
    /// Templates by id less offset.
    pub templates: SmallVec<[Template; 8]>,
    /// The chain that protects each decode target; empty without chains.
    pub protected_by: SmallVec<[u8; 8]>,
    /// Greatest width and height of each spatial layer; empty if not told.
    pub resolutions: SmallVec<[(u16, u16); 4]>,
    /// Highest spatial and temporal layer of each decode target.
    pub layers: SmallVec<[(u8, u8); 9]>,
}

impl Structure {
    /// Every decode target.
    pub fn all_targets(&self) -> u32 {
        (((1u64) << self.decode_targets) - 1) as u32
    }

    /// The decode targets that are part of what a receiver of `target` gets.
    pub fn targets_within(&self, target: u8) -> u32 {
        let Some(&(spatial, temporal)) = self.layers.get(usize::from(target)) else {
            return self.all_targets();
        };
        let within = self.layers.iter().enumerate().filter(|(_, (s, t))| *s <= spatial && *t <= temporal);
        within.fold(0, |mask, (i, _)| mask | 1 << i)
    }

    /// Whether a template lets one begin with `target` without being a keyframe's.
    pub fn has_switch(&self, target: u8, present_in: u8) -> bool {
        let dti = |t: &Template, dt: u8| Indication::of(t.dtis.checked_shr(u32::from(dt) * 2).unwrap_or(0));
        self.templates.iter().any(|t| {
            dti(t, target) == Indication::Switch && dti(t, present_in) != Indication::NotPresent && !t.fdiffs.is_empty()
        })
    }

    /// The decode target of the same spatial layer with the lowest temporal layer.
    pub fn lowest_temporal(&self, target: u8) -> Option<u8> {
        let spatial = self.layers.get(usize::from(target))?.0;
        let same = self.layers.iter().enumerate().filter(|(_, (s, _))| *s == spatial);
        same.min_by_key(|(_, (_, t))| *t).map(|(i, _)| i as u8)
    }
}

/// A parsed descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of the frame.
    pub start: bool,
    /// Last packet of the frame.
    pub end: bool,
    /// Template id as received.
    pub template_id: u8,
    /// Frame number as received.
    pub frame_number: u16,
    /// The structure that it refers to.
    pub structure: Arc<Structure>,
    /// Whether it brings that structure: a keyframe.
    pub attached: bool,
    /// Active decode targets, if it tells.
    pub active: Option<u32>,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    dtis: u64,
    fdiffs: SmallVec<[u16; 4]>,
    chains: SmallVec<[u8; 4]>,
    /// Bits at which structure, mask and custom definitions end.
    structure_end: u16,
    custom_from: u16,
    custom_to: u16,
}

impl Descriptor {
    /// What the frame means to a decode target; not present if there is none of that number.
    pub fn indication(&self, target: u8) -> Indication {
        Indication::of(self.dtis.checked_shr(u32::from(target) * 2).unwrap_or(0))
    }

    /// The decode targets that the frame is part of.
    pub fn targets(&self) -> u32 {
        (0..self.structure.decode_targets)
            .fold(0, |mask, dt| mask | u32::from(self.indication(dt) != Indication::NotPresent) << dt)
    }

    /// How many frames back each reference is.
    pub fn references(&self) -> &[u16] {
        &self.fdiffs
    }

    /// How many frames back the previous frame of each chain is.
    pub fn chains(&self) -> &[u8] {
        &self.chains
    }
}

/// Why a descriptor could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// It ends too early or contradicts itself.
    #[error("malformed dependency descriptor")]
    Malformed,
    /// It refers to a template that is not known: the packet with the structure was lost, a keyframe is needed.
    #[error("dependency descriptor of an unknown template")]
    UnknownTemplate,
}

/// Reads the descriptors of one SSRC.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    structure: Option<Arc<Structure>>,
    /// The one before, for packets that are late.
    earlier: Option<Arc<Structure>>,
}

impl Reader {
    /// No structure known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The latest structure.
    pub fn structure(&self) -> Option<&Arc<Structure>> {
        self.structure.as_ref()
    }

    /// Reads a descriptor and keeps its structure.
    ///
    /// # Errors
    /// If it is malformed, or its structure is not known.
    pub fn read(&mut self, data: &[u8]) -> Result<Descriptor, DescriptorError> {
        let mut attached = None;
        let descriptor = self.parse(data, &mut attached)?;
        if let Some(structure) = attached
            && self.structure.as_ref() != Some(&structure)
        {
            self.earlier = self.structure.replace(structure);
        }
        Ok(descriptor)
    }

    fn parse(&self, data: &[u8], attached: &mut Option<Arc<Structure>>) -> Result<Descriptor, DescriptorError> {
        const SHORT: DescriptorError = DescriptorError::Malformed;
        if data.len() > MAX_LENGTH {
            return Err(DescriptorError::Malformed);
        }
        let mut r = BitReader::new(data);
        let start = r.flag().ok_or(SHORT)?;
        let end = r.flag().ok_or(SHORT)?;
        let template_id = r.bits(6).ok_or(SHORT)? as u8;
        let frame_number = r.bits(16).ok_or(SHORT)? as u16;
        let mut flags = 0;
        if data.len() > 3 {
            flags = r.bits(5).ok_or(SHORT)?;
        }
        let mut structure_end = r.position();
        if flags & 0x10 != 0 {
            let mut structure = read_structure(&mut r).ok_or(SHORT)?;
            // The same again in later packets of a keyframe: one copy is enough.
            structure_end = r.position();
            if let Some(known) = &self.structure
                && **known == structure
            {
                *attached = Some(known.clone());
            } else {
                structure.layers.shrink_to_fit();
                *attached = Some(Arc::new(structure));
            }
        }
        let candidates = match &*attached {
            Some(structure) => [Some(structure), None],
            None => [self.structure.as_ref(), self.earlier.as_ref()],
        };
        let (structure, template) = candidates
            .into_iter()
            .flatten()
            .find_map(|s| {
                let index = template_id.wrapping_sub(s.offset) & 63;
                s.templates.get(usize::from(index)).map(|t| (s.clone(), t))
            })
            .ok_or(if flags & 0x10 != 0 { SHORT } else { DescriptorError::UnknownTemplate })?;
        let active = match flags & 0x08 != 0 {
            true => Some(r.bits(structure.decode_targets.into()).ok_or(SHORT)?),
            false => None,
        };
        let custom_from = r.position();
        let mut dtis = template.dtis;
        if flags & 0x04 != 0 {
            dtis = read_dtis(&mut r, structure.decode_targets).ok_or(SHORT)?;
        }
        let mut fdiffs = template.fdiffs.clone();
        if flags & 0x02 != 0 {
            fdiffs.clear();
            loop {
                let size = r.bits(2).ok_or(SHORT)?;
                if size == 0 {
                    break;
                }
                fdiffs.push(r.bits(size * 4).ok_or(SHORT)? as u16 + 1);
            }
        }
        let mut chains = template.chains.clone();
        if flags & 0x01 != 0 {
            for chain in &mut chains {
                *chain = r.bits(8).ok_or(SHORT)? as u8;
            }
        }
        Ok(Descriptor {
            start,
            end,
            template_id,
            frame_number,
            attached: attached.is_some(),
            active,
            spatial: template.spatial,
            temporal: template.temporal,
            dtis,
            fdiffs,
            chains,
            structure_end: structure_end as u16,
            custom_from: custom_from as u16,
            custom_to: r.position() as u16,
            structure,
        })
    }
}

fn read_dtis(r: &mut BitReader<'_>, decode_targets: u8) -> Option<u64> {
    (0..decode_targets).try_fold(0u64, |dtis, dt| Some(dtis | u64::from(r.bits(2)?) << (dt * 2)))
}

fn read_structure(r: &mut BitReader<'_>) -> Option<Structure> {
    let offset = r.bits(6)? as u8;
    let decode_targets = r.bits(5)? as u8 + 1;
    let mut templates = SmallVec::<[Template; 8]>::new();
    let (mut spatial, mut temporal) = (0u8, 0u8);
    loop {
        if templates.len() == MAX_TEMPLATES {
            return None;
        }
        templates.push(Template { spatial, temporal, dtis: 0, fdiffs: SmallVec::new(), chains: SmallVec::new() });
        match r.bits(2)? {
            0 => {}
            1 => temporal += 1,
            2 => {
                temporal = 0;
                spatial += 1;
            }
            _ => break,
        }
        if temporal > 7 || spatial > 3 {
            return None;
        }
    }
    for template in &mut templates {
        template.dtis = read_dtis(r, decode_targets)?;
    }
    for template in &mut templates {
        while r.flag()? {
            template.fdiffs.push(r.bits(4)? as u16 + 1);
        }
    }
    let chain_count = r.below(u32::from(decode_targets) + 1)?;
    let mut protected_by = SmallVec::new();
    if chain_count > 0 {
        for _ in 0..decode_targets {
            protected_by.push(r.below(chain_count)? as u8);
        }
        for template in &mut templates {
            for _ in 0..chain_count {
                template.chains.push(r.bits(4)? as u8);
            }
        }
    }
    let mut resolutions = SmallVec::new();
    if r.flag()? {
        for _ in 0..=spatial {
            let width = r.bits(16)?.wrapping_add(1).min(0xffff) as u16;
            resolutions.push((width, r.bits(16)?.wrapping_add(1).min(0xffff) as u16));
        }
    }
    let layers = (0..decode_targets)
        .map(|dt| {
            let present = templates.iter().filter(|t| t.dtis >> (dt * 2) & 3 != 0);
            present.fold((0, 0), |(s, t), template| (template.spatial.max(s), template.temporal.max(t)))
        })
        .collect();
    Some(Structure { offset, decode_targets, templates, protected_by, resolutions, layers })
}

/// A descriptor written anew: in place for most packets, more if it has a structure.
pub type Written = SmallVec<[u8; 40]>;

/// Longest that a header extension can be (RFC 8285 section 4.3).
const MAX_LENGTH: usize = 255;

/// Writes a descriptor with another mask of active decode targets; `None` for `active` takes the mask away. Everything else stays; what does not
/// fit into a header extension is returned as it was.
pub fn rewrite(raw: &[u8], descriptor: &Descriptor, active: Option<u32>) -> Written {
    if active == descriptor.active {
        return Written::from_slice(raw);
    }
    let mut out = Written::from_elem(0, (raw.len() + 6).min(MAX_LENGTH));
    match write(raw, descriptor, active, &mut out) {
        Some(length) => out.truncate(length),
        None => out = Written::from_slice(raw),
    }
    out
}

fn write(raw: &[u8], descriptor: &Descriptor, active: Option<u32>, out: &mut [u8]) -> Option<usize> {
    let flags = if raw.len() > 3 { u32::from(raw[3] >> 3) } else { 0 };
    let flags = if active.is_some() { flags | 0x08 } else { flags & !0x08 };
    let mut w = BitWriter::new(out);
    w.copy(raw, 0, 24)?;
    if flags != 0 {
        w.bits(flags, 5)?;
        w.copy(raw, STRUCTURE_AT, descriptor.structure_end.into())?;
        if let Some(active) = active {
            w.bits(active, descriptor.structure.decode_targets.into())?;
        }
        w.copy(raw, descriptor.custom_from.into(), descriptor.custom_to.into())?;
    }
    Some(w.position().div_ceil(8))
}

/// Sets frame number and shifts template ids (the packet's own and, if there is one, that of the structure) in a descriptor. Nothing happens to
/// one that is shorter than three bytes.
pub fn patch(descriptor: &mut [u8], frame_number: u16, template_shift: u8) {
    let [first, high, low, rest @ ..] = descriptor else {
        return;
    };
    *first = *first & 0xc0 | first.wrapping_add(template_shift) & 0x3f;
    [*high, *low] = frame_number.to_be_bytes();
    // template_id_offset: the last three bits of the fourth byte and the first three of the fifth.
    if let [flags, more, ..] = rest
        && *flags & 0x80 != 0
    {
        let offset = ((*flags & 0x07) << 3 | *more >> 5).wrapping_add(template_shift) & 0x3f;
        *flags = *flags & 0xf8 | offset >> 3;
        *more = *more & 0x1f | offset << 5;
    }
}
