//! Parameters of a query, found by name in any spelling that an upstream might accept.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Removes the parameters that `unwanted` says; what stays, stays byte for byte.
///
/// A name is compared in any letter case, percent-encoded or not, and as frameworks read it that
/// take `.`, space and `[` apart from the name proper (`key[]`, `api.key`). As some servers take
/// `;` for a separator, what stands between semicolons counts as a parameter, too.
pub fn remove<'q>(query: &'q str, unwanted: impl Fn(&[u8]) -> bool + Copy) -> Cow<'q, str> {
    if !pieces(query).any(|piece| matches(piece.text, unwanted)) {
        return Cow::Borrowed(query);
    }
    let mut kept = String::with_capacity(query.len());
    let staying = pieces(query).filter(|piece| !matches(piece.text, unwanted));
    for (index, piece) in staying.enumerate() {
        if index > 0 {
            kept.extend(piece.separator.map(char::from));
        }
        kept.push_str(piece.text);
    }
    Cow::Owned(kept)
}

struct Piece<'q> {
    separator: Option<u8>,
    text: &'q str,
}

fn pieces(query: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = Some((None, query));
    std::iter::from_fn(move || {
        let (separator, text) = rest.take()?;
        match text.bytes().position(|b| matches!(b, b'&' | b';')) {
            Some(at) => {
                rest = Some((Some(text.as_bytes()[at]), &text[at + 1..]));
                Some(Piece {
                    separator,
                    text: &text[..at],
                })
            }
            None => Some(Piece { separator, text }),
        }
    })
}

fn matches(piece: &str, unwanted: impl Fn(&[u8]) -> bool + Copy) -> bool {
    let name = piece
        .split_once('=')
        .map_or(piece, |(name, _)| name)
        .as_bytes();
    // Only these can hide a name: what else upstreams fold, `unwanted` folds, too.
    if name.iter().any(|b| matches!(b, b'%' | b'[' | b'+' | b' ')) {
        return matches_decoded(name, unwanted);
    }
    unwanted(name)
}

/// Compares every reading of the name, for servers that decode once and those that decode again.
fn matches_decoded(name: &[u8], unwanted: impl Fn(&[u8]) -> bool + Copy) -> bool {
    let mut reading = Cow::Borrowed(name);
    loop {
        if unwanted(proper(&reading)) {
            return true;
        }
        match Cow::from(percent_decode(&reading)) {
            Cow::Borrowed(_) => return false,
            Cow::Owned(decoded) => reading = Cow::Owned(decoded),
        }
    }
}

/// The name as PHP, `qs` and their like read it: without leading spaces, up to the first bracket,
/// or inside it if it leads.
fn proper(name: &[u8]) -> &[u8] {
    let start = name
        .iter()
        .position(|b| !matches!(b, b' ' | b'+'))
        .unwrap_or(name.len());
    let name = name[start..].strip_prefix(b"[").unwrap_or(&name[start..]);
    name.split(|&b| matches!(b, b'[' | b']' | 0))
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::names::NameSet;

    #[test]
    fn parameters_are_found_in_every_spelling() {
        let names: NameSet = ["access_token", "api_key"].into_iter().collect();
        for (query, kept, why) in [
            ("a=1&access_token=x&b=2", "a=1&b=2", "in the middle"),
            ("access_token=x", "", "alone"),
            ("access_token", "", "without a value"),
            ("access_token=x&a=1", "a=1", "first"),
            ("a=1&access_token=x", "a=1", "last"),
            (
                "ACCESS_token=x&Access-Token=y",
                "",
                "letter case and hyphen",
            ),
            ("%61ccess%5Ftoken=x&a=1", "a=1", "percent-encoded"),
            ("%2561ccess_token=x&a=1", "a=1", "percent-encoded twice"),
            ("access_token[]=x&api_key[a]=y", "", "array notation"),
            ("access_token%5B%5D=x", "", "encoded array notation"),
            ("[access_token]=x&%5Bapi_key%5D=x", "", "a name in brackets"),
            ("access.token=x&access+token=y", "", "names that PHP folds"),
            ("a=1;access_token=x;b=2", "a=1;b=2", "semicolons separate"),
            (
                "access_tokens=x&xaccess_token=y",
                "access_tokens=x&xaccess_token=y",
                "other names",
            ),
            (
                "a=access_token&b=api_key%3Dx",
                "a=access_token&b=api_key%3Dx",
                "values are not names",
            ),
            (
                "a=&b&&c==%20+",
                "a=&b&&c==%20+",
                "nothing to remove, nothing changed",
            ),
            (
                "a=&api_key=1&b&&c==%20+",
                "a=&b&&c==%20+",
                "the rest stays byte for byte",
            ),
            ("&&a=1&api_key=x", "&&a=1", "empty pieces stay"),
        ] {
            assert_eq!(
                remove(query, |name| names.contains(name)),
                kept,
                "{query}: {why}"
            );
        }
    }
}
