//! Sets of names that are looked up for every field of every request.

/// Names to find quickly, in any letter case, and with `_`, `.`, space and `+` counted as `-`.
///
/// Upstreams that pass fields through CGI-like variables cannot tell `X_Api_Key` from `X-Api-Key`,
/// and PHP reads the parameters `api.key`, `api key` and `api_key` as one; so do we. A table of first letters and lengths turns nearly every other name away
/// before a byte is compared.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    lengths: [u64; 32],
    names: Vec<Box<[u8]>>,
}

impl NameSet {
    /// Adds a name.
    pub fn insert(&mut self, name: &str) {
        if name.is_empty() || self.contains(name.as_bytes()) {
            return;
        }
        let folded: Box<[u8]> = name.bytes().map(fold).collect();
        self.lengths[row(folded[0])] |= column(folded.len());
        self.names.push(folded);
    }

    /// Whether `name` is in the set.
    pub fn contains(&self, name: &[u8]) -> bool {
        let Some(&first) = name.first() else {
            return false;
        };
        self.lengths[row(first)] & column(name.len()) != 0
            && self.names.iter().any(|known| same(known, name))
    }
}

impl<'a> FromIterator<&'a str> for NameSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut set = Self::default();
        names.into_iter().for_each(|name| set.insert(name));
        set
    }
}

fn same(folded: &[u8], name: &[u8]) -> bool {
    folded.len() == name.len() && folded.iter().zip(name).all(|(&a, &b)| a == fold(b))
}

/// A byte of a name as names are compared.
pub(super) fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' | b' ' | b'+' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

/// Lower and upper case letters share a row; `_` and `-` are folded first.
fn row(first: u8) -> usize {
    usize::from(fold(first) & 31)
}

fn column(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_spelling() {
        let set: NameSet = ["X-Api-Key", "_odd", "cookie"].into_iter().collect();
        for (name, found) in [
            ("x-api-key", true),
            ("X_API-key", true),
            ("-odd", true),
            ("_ODD", true),
            ("cookie", true),
            ("cookies", false),
            ("x-api-kez", false),
            ("", false),
        ] {
            assert_eq!(set.contains(name.as_bytes()), found, "{name}");
        }
    }
}
