//! `verify` of an endpoint: how senders prove who they are.

use std::time::Duration;

use http::HeaderName;

use crate::config::compile::auth::field_name;
use crate::config::compile::secret::{Secrets, field_value};
use crate::config::fault::Fault;
use crate::config::section::Section;
use crate::connection::webhook::{Algorithm, Encoding, Hmac, Proof, Signed, Template, Verify};
use crate::secret::Secret;

/// How far the time of a signature may be from ours, as providers recommend it.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What `verify` of an endpoint demands; none if that is wrong, which was reported.
pub(super) fn verify<'a>(section: &Section<'a>, secrets: &Secrets<'a>) -> Option<Verify> {
    Compiler { secrets }.verify(section)
}

struct Compiler<'a, 's> {
    secrets: &'s Secrets<'a>,
}

impl<'a> Compiler<'a, '_> {
    fn verify(&self, section: &Section<'a>) -> Option<Verify> {
        if !section.has("verify") {
            let message = "an endpoint needs `verify`, which says how senders prove who they are; `{ type = \"none\" }` takes whatever comes";
            section.missing("verify", message);
            return None;
        }
        let verify = section.section("verify")?;
        let secret = || self.needed(&verify, "secret");
        let signed = || {
            Some(Signed {
                secret: secret()?,
                tolerance: verify.duration("tolerance").unwrap_or(TOLERANCE),
            })
        };
        let (kind, proof) = match verify.text("type")?.text {
            "none" => ("none", Proof::None),
            "hmac" => ("hmac", Proof::Hmac(Box::new(self.hmac(&verify)?))),
            "stripe" => ("stripe", Proof::Stripe(signed()?)),
            "standard" => ("standard", Proof::Standard(self.standard(&verify)?)),
            "github" => {
                let signed = signed()?;
                let header = HeaderName::from_static("x-hub-signature-256");
                let github = Hmac::usual(header, signed.secret);
                let hmac = Hmac {
                    prefix: "sha256=".into(),
                    tolerance: Some(signed.tolerance),
                    ..github
                };
                ("github", Proof::Hmac(Box::new(hmac)))
            }
            "slack" => {
                let signed = signed()?;
                let header = HeaderName::from_static("x-slack-signature");
                let slack = Hmac::usual(header, signed.secret);
                let hmac = Hmac {
                    prefix: "v0=".into(),
                    template: Template::parse("v0:{header:x-slack-request-timestamp}:{body}")
                        .ok()?,
                    timestamp: Some(HeaderName::from_static("x-slack-request-timestamp")),
                    tolerance: Some(signed.tolerance),
                    ..slack
                };
                ("slack", Proof::Hmac(Box::new(hmac)))
            }
            "basic" => {
                let proof = Proof::Basic {
                    username: self.needed(&verify, "username")?,
                    password: self.needed(&verify, "password")?,
                };
                ("basic", proof)
            }
            "header" => {
                let name = self.header(&verify, "header");
                let secret = secret()?;
                if let (Err(error), Some(entry)) = (field_value(&secret), verify.entry("secret")) {
                    let message = format!("`secret` {error}");
                    verify.report("secret", Fault::at(entry.place, message));
                }
                let proof = Proof::Header {
                    name: name?,
                    secret,
                };
                ("header", proof)
            }
            "query" => {
                let name = verify.parse("param", |text| match text {
                    "" => Err("a parameter needs a name"),
                    name => Ok(name.into()),
                });
                if !verify.has("param") {
                    verify.missing("param", "type `query` needs `param`, the parameter's name");
                }
                let proof = Proof::Query {
                    secret: secret()?,
                    name: name?,
                };
                ("query", proof)
            }
            _ => return None,
        };
        Some(Verify { kind, proof })
    }

    /// A secret without which nothing can be proved.
    fn needed(&self, verify: &Section<'a>, key: &str) -> Option<Secret> {
        if !verify.has(key) {
            let kind = verify.text("type").map_or("", |text| text.text);
            verify.missing(key, format!("type `{kind}` needs a `{key}`"));
        }
        self.secrets.take_at_load(verify, key)
    }

    fn header(&self, verify: &Section<'a>, key: &str) -> Option<HeaderName> {
        if !verify.has(key) {
            let kind = verify.text("type").map_or("", |text| text.text);
            verify.missing(key, format!("type `{kind}` needs `{key}`, a field's name"));
        }
        verify.parse(key, field_name)
    }

    fn standard(&self, verify: &Section<'a>) -> Option<Signed> {
        let signed = Signed {
            secret: self.needed(verify, "secret")?,
            tolerance: verify.duration("tolerance").unwrap_or(TOLERANCE),
        };
        if signed.key().is_none() {
            let place = verify.entry("secret").map(|entry| entry.place);
            let message = "`secret` is not base64, with or without `whsec_` before it";
            let fault = Fault::at(place.unwrap_or_else(|| verify.header()), message);
            verify.report("secret", fault);
        }
        Some(signed)
    }

    fn hmac(&self, verify: &Section<'a>) -> Option<Hmac> {
        let header = self.header(verify, "header");
        let secret = self.needed(verify, "secret");
        let template = match verify.has("template") {
            true => verify.parse("template", Template::parse),
            false => Some(Template::body()),
        };
        let tolerance = verify.duration("tolerance");
        let timestamp = self.timestamp(verify, template.as_ref());
        let choice = |key: &str| verify.text(key).map(|text| text.text);
        Some(Hmac {
            header: header?,
            secret: secret?,
            algorithm: match choice("algorithm") {
                Some("sha1") => Algorithm::Sha1,
                Some("sha512") => Algorithm::Sha512,
                _ => Algorithm::Sha256,
            },
            encoding: match choice("encoding") {
                Some("base64") => Encoding::Base64,
                _ => Encoding::Hex,
            },
            prefix: choice("prefix").unwrap_or_default().into(),
            template: template?,
            tolerance: tolerance.or_else(|| timestamp.as_ref().map(|_| TOLERANCE)),
            timestamp,
        })
    }

    /// The field with the time of signing: the one that is named, or the only one that is signed.
    fn timestamp(&self, verify: &Section<'a>, template: Option<&Template>) -> Option<HeaderName> {
        let signed: Vec<_> = template.into_iter().flat_map(Template::headers).collect();
        if verify.has("timestamp") {
            let name = self.header(verify, "timestamp")?;
            if template.is_some() && !signed.contains(&&name) {
                let place = verify.entry("timestamp").map(|entry| entry.place);
                let message = format!(
                    "`{name}` is not in `template`, so anybody could change it; add `{{header:{name}}}` there as the sender does"
                );
                let fault = Fault::at(place.unwrap_or_else(|| verify.header()), message);
                verify.report("timestamp", fault);
            }
            return Some(name);
        }
        let tolerance = verify.entry("tolerance")?;
        match *signed {
            // Nothing tells the time: the same digest is not taken twice within the tolerance.
            [] => None,
            [only] => Some(only.clone()),
            _ => {
                let message =
                    "`tolerance` is about one field of `template`; name it in `timestamp`";
                verify.report("tolerance", Fault::at(tolerance.key_place, message));
                None
            }
        }
    }
}
