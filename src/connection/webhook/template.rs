//! What a digest is of, as it is configured: [`Template`].

use http::HeaderName;

/// What a digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(Box<str>),
    /// The value of a field.
    Header(HeaderName),
    /// The request's method.
    Method,
    /// Its path and query, as the sender wrote them.
    Path,
    /// Its whole URL, as the sender knows it.
    Url,
    /// Its content.
    Body,
}

/// Why a text is no [`Template`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It says nothing of the content.
    #[error("`template` lacks `{{body}}`: anybody could change the content")]
    NoBody,
    /// A brace without its other one.
    #[error("`template` has a brace without its other one")]
    Unbalanced,
    /// What stands in braces is nothing known.
    #[error(
        "`template` knows no `{{{0}}}`; there are `{{body}}`, `{{header:NAME}}`, `{{method}}`, `{{path}}` and `{{url}}`"
    )]
    Unknown(String),
}

impl Template {
    /// The content alone.
    pub fn body() -> Self {
        Self([Part::Body].into())
    }

    /// Reads a text such as `v0:{header:X-Slack-Request-Timestamp}:{body}`.
    ///
    /// # Errors
    /// Says what is wrong with the text, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.find(['{', '}']).unwrap_or(rest.len());
            let (plain, behind) = rest.split_at(at);
            if !plain.is_empty() {
                parts.push(Part::Text(plain.into()));
            }
            rest = behind;
            if !rest.is_empty() {
                let inside = rest
                    .strip_prefix('{')
                    .and_then(|rest| rest.split_once('}'))
                    .filter(|(name, _)| !name.contains('{'));
                let (name, behind) = inside.ok_or(InvalidTemplate::Unbalanced)?;
                parts.push(Part::named(name)?);
                rest = behind;
            }
        }
        match parts.contains(&Part::Body) {
            true => Ok(Self(parts.into())),
            false => Err(InvalidTemplate::NoBody),
        }
    }

    /// Its parts, in their order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The fields that it names.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|part| match part {
            Part::Header(name) => Some(name),
            _ => None,
        })
    }
}

impl Part {
    fn named(name: &str) -> Result<Self, InvalidTemplate> {
        let unknown = || InvalidTemplate::Unknown(name.to_owned());
        Ok(match name {
            "body" => Self::Body,
            "method" => Self::Method,
            "path" => Self::Path,
            "url" => Self::Url,
            _ => {
                let field = name.strip_prefix("header:").ok_or_else(unknown)?;
                Self::Header(field.parse().map_err(|_| unknown())?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_part_by_part() {
        let header = |name: &'static str| Part::Header(HeaderName::from_static(name));
        let text = |text: &str| Part::Text(text.into());
        for (template, parts) in [
            ("{body}", vec![Part::Body]),
            (
                "v0:{header:X-Time}:{body}",
                vec![text("v0:"), header("x-time"), text(":"), Part::Body],
            ),
            ("{url}{body}", vec![Part::Url, Part::Body]),
            (
                "{method} {path}\n{body}.",
                vec![
                    Part::Method,
                    text(" "),
                    Part::Path,
                    text("\n"),
                    Part::Body,
                    text("."),
                ],
            ),
        ] {
            assert_eq!(
                *Template::parse(template).unwrap().parts(),
                parts,
                "{template}"
            );
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        let unknown = |name: &str| InvalidTemplate::Unknown(name.to_owned());
        for (template, error) in [
            ("", InvalidTemplate::NoBody),
            ("{header:X-Time}", InvalidTemplate::NoBody),
            ("{body", InvalidTemplate::Unbalanced),
            ("body}", InvalidTemplate::Unbalanced),
            ("{{body}}", InvalidTemplate::Unbalanced),
            ("{Body}", unknown("Body")),
            ("{header:}{body}", unknown("header:")),
            ("{header:a b}{body}", unknown("header:a b")),
        ] {
            assert_eq!(Template::parse(template), Err(error), "{template}");
        }
    }
}
