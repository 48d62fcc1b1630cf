//! What may stand where: [`Shape`] lists the keys of a table, and [`Kind`] says what a key takes.

/// The keys of a table, in the order of the reference.
pub(crate) struct Shape(pub(crate) &'static [(&'static str, Kind)]);

/// What a key takes.
pub(crate) enum Kind {
    Boolean,
    Choice(&'static Choice),
    Duration,
    /// A text around a secret; may itself hold one.
    Format,
    Integer,
    /// Nothing yet: a later release brings it.
    Later,
    /// A table whose keys are names.
    Map(&'static Self),
    /// A text, or a table that says where it comes from.
    Secret(&'static Shape),
    Size,
    Table(&'static Shape),
    Text,
    Texts,
    /// The name of an environment variable, or by mistake the secret itself.
    Variable,
    /// A table whose keys depend on its `type`.
    Variants(&'static Variants),
}

/// The texts that a key takes.
pub(crate) struct Choice {
    pub(crate) now: &'static [&'static str],
    pub(crate) later: &'static [&'static str],
}

/// The values of `type`, each with its keys.
pub(crate) struct Variants {
    pub(crate) now: &'static [(&'static str, Shape)],
    pub(crate) later: &'static [&'static str],
}

// === impl Shape ===

impl Shape {
    /// What `key` takes, if there is such a key.
    pub(crate) fn kind(&self, key: &str) -> Option<&'static Kind> {
        let (_, kind) = self.0.iter().find(|(name, _)| *name == key)?;
        Some(kind)
    }

    /// The key that was probably meant.
    pub(crate) fn nearest(&self, key: &str) -> Option<&'static str> {
        nearest(key, self.0.iter().map(|(name, _)| *name))
    }

    /// The keys that may be used today.
    pub(crate) fn available(&self) -> impl Iterator<Item = &'static str> {
        self.0
            .iter()
            .filter(|(_, kind)| !matches!(kind, Kind::Later))
            .map(|(name, _)| *name)
    }
}

/// The candidate nearest to `written`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 40;
    if written.len() > LONGEST {
        return None;
    }
    let tolerance = (written.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether a text can name an environment variable; one that cannot is most often a secret.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a text can be quoted in a message: one that spans lines may hold what was meant to be
/// other keys, their secrets included.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

// === impl Kind ===

impl Kind {
    /// What stands below `key` of a value of this kind, a misspelt key taken for the nearest.
    pub(crate) fn child(&self, key: &str) -> Option<&'static Self> {
        match self {
            Self::Map(kind) => Some(kind),
            Self::Secret(shape) | Self::Table(shape) => child_of(shape, key),
            Self::Variants(variants) => variants
                .now
                .iter()
                .find_map(|(_, shape)| shape.kind(key))
                .or_else(|| variants.now.iter().find_map(|(_, s)| child_of(s, key))),
            _ => None,
        }
    }

    /// Whether `text` in this place may be shown to whoever reads the log.
    pub(crate) fn may_show(&self, text: &str) -> bool {
        match self {
            Self::Variable => is_variable_name(text),
            _ => self.is_harmless(),
        }
    }

    /// Whether any text in this place may be shown.
    fn is_harmless(&self) -> bool {
        match self {
            Self::Boolean
            | Self::Choice(_)
            | Self::Duration
            | Self::Integer
            | Self::Size
            | Self::Text
            | Self::Texts => true,
            Self::Format
            | Self::Later
            | Self::Map(_)
            | Self::Secret(_)
            | Self::Table(_)
            | Self::Variable
            | Self::Variants(_) => false,
        }
    }
}

/// A misspelt key counts for the nearest only where no secret can stand, at no depth.
fn child_of(shape: &Shape, key: &str) -> Option<&'static Kind> {
    let meant = || shape.kind(shape.nearest(key)?);
    shape
        .kind(key)
        .or_else(|| meant().filter(|kind| kind.is_harmless()))
}
