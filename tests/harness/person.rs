//! A person without a browser: walks through forms and redirects, keeping cookies.

use std::net::SocketAddr;

use url::Url;
use url::form_urlencoded::Serializer;

use super::client::Request;

/// More pages than any consent has.
const MANY: usize = 30;

/// Someone who signs in by this name, and the cookies they were given.
pub struct Person {
    login: String,
    cookies: Vec<Cookie>,
}

/// Where a way has led.
#[derive(Clone, Debug)]
pub struct Page {
    /// The URL of the last page.
    pub url: Url,
    /// Its status code; 0 if it was not asked for.
    pub status: u16,
    /// Its content.
    pub body: String,
    /// The URLs of all pages, the last one included.
    pub way: Vec<Url>,
}

struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// What is asked for next: a form's content makes it a POST.
struct Ask {
    url: Url,
    form: Option<String>,
}

/// What a person makes of the authorization server's pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Consent,
    Decline,
}

/// A form on a page, with what its fields hold already.
struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Person {
    /// One who has never been here.
    pub fn new(login: &str) -> Self {
        Self {
            login: login.to_owned(),
            cookies: Vec::new(),
        }
    }

    /// Opens an authorization URL or a device's verification URL, signs in, consents, and follows
    /// every redirect to its end.
    pub async fn consent(&mut self, url: &str) -> Page {
        self.walk(url, Answer::Consent, true).await
    }

    /// The same, up to the redirect to the client, which is not followed: its URL has the code.
    pub async fn authorize(&mut self, url: &str) -> Url {
        self.walk(url, Answer::Consent, false).await.url
    }

    /// Opens an authorization URL, turns it down, and follows every redirect to its end.
    pub async fn decline(&mut self, url: &str) -> Page {
        self.walk(url, Answer::Decline, true).await
    }

    async fn walk(&mut self, url: &str, answer: Answer, leave: bool) -> Page {
        let url = Url::parse(url).unwrap();
        let origin = url.origin();
        let mut way = Vec::new();
        let mut ask = Ask { url, form: None };
        let mut aborted = false;
        while way.len() < MANY {
            let Ask { url, .. } = &ask;
            let (url, at_server) = (url.clone(), url.origin() == origin);
            way.push(url.clone());
            let (mut status, mut body, mut location) = (0, String::new(), None);
            if at_server || leave {
                (status, body, location) = self.ask(&ask).await;
            }
            let form = Form::first(&body).filter(|_| at_server && !aborted);
            let abort = abort_link(&body).filter(|_| at_server && answer == Answer::Decline);
            aborted |= abort.is_some();
            ask = match (location.or(abort), form) {
                (Some(to), _) => Ask {
                    url: url.join(&to).unwrap(),
                    form: None,
                },
                (None, Some(form)) => form.fill(&url, &self.login),
                (None, None) => {
                    return Page {
                        url,
                        status,
                        body,
                        way,
                    };
                }
            };
        }
        panic!("no end of pages: {way:?}");
    }

    /// Status, content and, of a redirect, where to.
    async fn ask(&mut self, ask: &Ask) -> (u16, String, Option<String>) {
        let Ask { url, form } = ask;
        let query = url
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        let target = format!("{}{query}", url.path());
        let method = if form.is_some() { "POST" } else { "GET" };
        let mut request = Request::new(address(url), method, &target)
            .host(&url[url::Position::BeforeHost..url::Position::AfterPort])
            .header("Accept", "text/html");
        let cookies = self.cookies_for(url);
        if !cookies.is_empty() {
            request = request.header("Cookie", &cookies);
        }
        if let Some(form) = form {
            request = request.body("application/x-www-form-urlencoded", form);
        }
        let response = request.send().await;
        for cookie in response.head.all("set-cookie") {
            self.keep(url, cookie);
        }
        let redirect = (300..400).contains(&response.status);
        let location = response.header("location").filter(|_| redirect);
        let location = location.map(str::to_owned);
        (response.status, response.text(), location)
    }

    /// Cookies go by host and path and not by port (RFC 6265 section 8.5).
    fn cookies_for(&self, url: &Url) -> String {
        let fits = |cookie: &&Cookie| {
            Some(cookie.host.as_str()) == url.host_str() && url.path().starts_with(&cookie.path)
        };
        let cookies = self.cookies.iter().filter(fits);
        let pairs: Vec<_> = cookies
            .map(|Cookie { name, value, .. }| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn keep(&mut self, url: &Url, cookie: &str) {
        let mut parts = cookie.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let path = parts.find_map(|part| part.strip_prefix("path="));
        let cookie = Cookie {
            host: url.host_str().unwrap().to_owned(),
            path: path.unwrap_or("/").to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let same = |kept: &Cookie| kept.name == cookie.name && kept.path == cookie.path;
        self.cookies.retain(|kept| !same(kept));
        // An empty value takes a cookie back.
        if !cookie.value.is_empty() {
            self.cookies.push(cookie);
        }
    }
}

impl Form {
    fn first(page: &str) -> Option<Self> {
        let form = &page[page.find("<form")?..];
        let form = &form[..form.find("</form>")?];
        let inputs = form.split("<input").skip(1);
        let field = |tag: &str| Some((attribute(tag, "name")?, attribute(tag, "value")));
        let fields = inputs.filter_map(field);
        Some(Self {
            action: attribute(form, "action")?,
            fields: fields
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect(),
        })
    }

    /// Fills in what is empty: the login is taken with any password.
    fn fill(self, page: &Url, login: &str) -> Ask {
        let mut form = Serializer::new(String::new());
        for (name, value) in &self.fields {
            let value = if value.is_empty() { login } else { value };
            form.append_pair(name, value);
        }
        Ask {
            url: page.join(&self.action).unwrap(),
            form: Some(form.finish()),
        }
    }
}

/// The value of an attribute in the first tag that has it.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = &tag[..tag.find('>')?];
    let (_, value) = tag.split_once(&format!("{name}=\""))?;
    let (value, _) = value.split_once('"')?;
    Some(value.replace("&amp;", "&"))
}

fn abort_link(page: &str) -> Option<String> {
    let mut links = page.split("href=\"").skip(1);
    links.find_map(|link| {
        let (target, _) = link.split_once('"')?;
        target.ends_with("/abort").then(|| target.to_owned())
    })
}

fn address(url: &Url) -> SocketAddr {
    let addresses = url.socket_addrs(|| None).unwrap();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    *ipv4.unwrap_or(&addresses[0])
}
